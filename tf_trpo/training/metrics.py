"""The names of all logged figures. A figure that does not exist in an iteration is left out of the logs."""

from __future__ import annotations

import math
import time
from collections import deque
from typing import Any

import numpy as np

from tf_trpo.rollouts import Episode, EpisodeTracker, Rollout, mean_infos
from tf_trpo.training.results import UpdateResult

Logs = dict[str, float]

OUTCOME_NAMES = {
    # Names that Stable-Baselines3 has too.
    "surrogate": "policy_objective",
    "kl": "kl_divergence_loss",
    "accepted": "is_line_search_success",
}
"""Names under train/ of an outcome's figures; every other figure keeps its own name."""
_EPISODE_WINDOW = 100
"""Episodes that the reported mean return and length are taken over, as Stable-Baselines3 does."""


def update_logs(result: UpdateResult) -> Logs:
    """Name the figures of an update, tensors or numbers; those that are None or not finite are left out."""
    policy, value = result
    figures: dict[str, Any] = {
        **{f"train/{OUTCOME_NAMES.get(name, name)}": figure for name, figure in policy.outcome._asdict().items()},
        "bound/mean_kl": policy.outcome.kl,
        "bound/max_kl": policy.outcome.max_kl_over_states,
        **{f"bound/{name}": figure for name, figure in policy.bound._asdict().items()},
        **{f"train/{name}": figure for name, figure in policy.distribution.items()},
        "train/normalization_kl": policy.normalization_kl,
        "train/statistics_are_finite": policy.statistics_are_finite,
        "train/value_loss": value.loss,
        "train/explained_variance": value.explained_variance,
        "train/learning_rate": value.learning_rate,
    }
    numbers = {name: float(figure) for name, figure in sorted(figures.items()) if figure is not None}
    return {name: number for name, number in numbers.items() if math.isfinite(number)}


class Report:
    """Keeps the last episodes and the time of a fit of B environments.

    Attributes:
      tracker: of the unfinished episodes.
      episodes: the last episodes that ended.
      first_steps: environment steps of the agent when the fit began.
    """

    def __init__(self, num_envs: int, steps: int) -> None:
        self.tracker = EpisodeTracker(num_envs)
        self.episodes: deque[Episode] = deque(maxlen=_EPISODE_WINDOW)
        self.first_steps = steps
        self._start = time.perf_counter()
        self._before = 0.0
        self._skipped = 0

    def begin(self, *, skipped: int) -> None:
        """Start the clock of this process; `skipped` environment steps of the fit were taken before, by no clock."""
        self._start = time.perf_counter()
        self._skipped = skipped

    def logs(self, rollout: Rollout, *, steps: int, iterations: int) -> Logs:
        """Take in a rollout; name the figures of episodes and time after so many steps and iterations of the agent."""
        for finished in self.tracker.finished(rollout):
            self.episodes.extend(finished)
        logs: Logs = {}
        if self.episodes:
            logs["rollout/ep_rew_mean"], logs["rollout/ep_len_mean"] = self._totals().mean(axis=0).tolist()
            logs |= {f"rollout/{name}": mean for name, mean in mean_infos(self.episodes).items()}
        elapsed = self._elapsed
        return {
            **logs,
            "time/total_timesteps": steps,
            "time/iterations": iterations,
            "time/time_elapsed": elapsed,
            "time/fps": (steps - self.first_steps - self._skipped) / elapsed,
        }

    def missing(self, rollout: Rollout, *, steps: int) -> list[str]:
        """Say, after so many steps of the agent and the last rollout, what the episodes have not shown."""
        if not self.episodes:
            return [f"no episode has ended in {steps - self.first_steps} steps: returns and lengths are not known"]
        found = {name for episode in self.episodes for name in episode.infos}
        return [f"no info of an episode's last step had the key {key!r}" for key in rollout.infos if key not in found]

    def state(self) -> dict[str, Any]:
        """Give all that `restore` needs, as numbers and arrays."""
        return {
            "first_steps": self.first_steps,
            "elapsed": self._elapsed,
            "episodes": self._totals(),
            "infos": [dict(episode.infos) for episode in self.episodes],
            "returns": self.tracker.returns.copy(),
            "lengths": self.tracker.lengths.copy(),
        }

    def restore(self, state: dict[str, Any], *, unfinished: bool) -> None:
        """Continue from a state, with its unfinished episodes or without them.

        Raises:
          ValueError: the state is impossible.
        """
        episodes, returns, lengths = state["episodes"], state["returns"], state["lengths"]
        fits = returns.shape == lengths.shape == self.tracker.returns.shape and episodes.shape[1:] == (2,)
        possible = np.isfinite(episodes).all() and np.isfinite(returns).all()
        possible = possible and min(lengths.min(), episodes[:, 1].min(initial=0.0)) >= 0 <= state["elapsed"] < math.inf
        if not (fits and possible and lengths.dtype == np.int64 and returns.dtype == np.float64):
            raise ValueError("the episodes of the checkpoint are impossible")
        infos = [{str(name): float(figure) for name, figure in info.items()} for info in state["infos"]]
        for (total, length), info in zip(episodes.tolist(), infos, strict=True):
            self.episodes.append(Episode(total, int(length), info))
        self.first_steps, self._before = int(state["first_steps"]), float(state["elapsed"])
        if unfinished:
            self.tracker.returns, self.tracker.lengths = returns.copy(), lengths.copy()

    def _totals(self) -> np.ndarray:
        """Give returns and lengths of the last episodes, float64 [N, 2]."""
        return np.array([episode[:2] for episode in self.episodes], np.float64).reshape(-1, 2)

    @property
    def _elapsed(self) -> float:
        """Seconds of the fit, those before a resumption included."""
        return self._before + time.perf_counter() - self._start

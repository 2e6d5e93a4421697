"""The names of all logged figures. A figure that does not exist in an iteration is left out of the logs."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from tf_trpo.learning.results import UpdateResult
from tf_trpo.rollouts import Episode, EpisodeTracker, Rollout, mean_costs, mean_infos

Logs = dict[str, float]

OUTCOME_NAMES = {
    # The names that Stable-Baselines3 uses.
    "surrogate": "policy_objective",
    "kl": "kl_divergence_loss",
    "accepted": "is_line_search_success",
}
"""Names under train/ of some figures of an outcome; the other figures keep their own names."""
BY_COST = {"cost_changes": "cost_change", "cost_margins": "cost_margin", "multipliers": "multiplier"}
"""Figures of an outcome that have a number for each cost, and the prefixes of their names under train/."""
_EPISODE_WINDOW = 100
"""Number of last episodes over which the figures of episodes are averaged, as in Stable-Baselines3."""
_LEAST_EPISODES = 5
"""Number of last episodes over which costs are averaged for their limits, if the last rollout has fewer."""


def update_logs(result: UpdateResult, costs: Sequence[str] = ()) -> Logs:
    """Return the figures of an update by their log names; those that are None or not finite are left out.

    Args:
      result: result of the update, with tensors or numbers.
      costs: labels of the costs; the names of their figures end with them.
    """
    policy, value, cost_values = result
    outcome = policy.outcome._asdict()
    by_cost = {name: outcome.pop(name) for name in BY_COST}
    figures: dict[str, Any] = {
        **{f"train/{OUTCOME_NAMES.get(name, name)}": figure for name, figure in outcome.items()},
        **{f"bound/{name}": figure for name, figure in policy.bound._asdict().items()},
        **{f"train/{name}": figure for name, figure in policy.distribution.items()},
        "train/normalization_kl": policy.normalization_kl,
        "train/statistics_are_finite": policy.statistics_are_finite,
        "train/value_loss": value.loss,
        "train/explained_variance": value.explained_variance,
        "train/learning_rate": value.learning_rate,
    }
    for place, label in enumerate(costs):
        figures |= {f"train/{BY_COST[name]}/{label}": each[place] for name, each in by_cost.items() if each is not None}
        figures[f"train/value_loss/{label}"] = cost_values[place].loss
        figures[f"train/explained_variance/{label}"] = cost_values[place].explained_variance
    numbers = {name: float(figure) for name, figure in sorted(figures.items()) if figure is not None}
    return {name: number for name, number in numbers.items() if math.isfinite(number)}


class Report:
    """Tracks the last episodes and the time of a fit of B environments.

    Attributes:
      tracker: tracker of the unfinished episodes.
      episodes: the last episodes that ended.
      first_steps: environment steps of the agent when the fit began.
    """

    def __init__(self, num_envs: int, steps: int, costs: Sequence[str] = ()) -> None:
        self.tracker = EpisodeTracker(num_envs, len(costs))
        self.episodes: deque[Episode] = deque(maxlen=_EPISODE_WINDOW)
        self.first_steps = steps
        self._costs = tuple(costs)
        self._ended: list[Episode] = []
        self._branch_steps: int | None = None
        self._start = time.perf_counter()
        self._before = 0.0
        self._skipped = 0

    def begin(self, *, skipped: int) -> None:
        """Start the clock; `skipped` environment steps of the fit were taken earlier, and are left out of the speed."""
        self._start = time.perf_counter()
        self._skipped = skipped

    def add(self, rollout: Rollout) -> None:
        """Add the episodes that end in a rollout, in the order in which they end."""
        finished = [iter(episodes) for episodes in self.tracker.finished(rollout)]
        _, columns = np.nonzero(rollout.terminated | rollout.truncated)
        self._ended = [next(finished[column]) for column in columns.tolist()]
        self._branch_steps = rollout.branch_steps if rollout.branches else None
        self.episodes.extend(self._ended)

    def cost_totals(self) -> np.ndarray:
        """Return the mean total of each cost in an episode, and the mean length of these episodes, float64 [C + 1].

        The means are over all episodes that ended in the last rollout, because only these show the present policy. If
        there are fewer than five, the means are over the last five episodes, so that a single episode has less weight.
        Until an episode has ended, the means are over the unfinished episodes so far.
        """
        episodes = self._ended if len(self._ended) >= _LEAST_EPISODES else list(self.episodes)[-_LEAST_EPISODES:]
        last = [(*episode.costs, episode.length) for episode in episodes]
        unfinished = np.concatenate([self.tracker.costs, self.tracker.lengths[:, None]], axis=1)
        totals: np.ndarray = np.mean(last or unfinished, axis=0)
        totals[-1] = max(totals[-1], 1.0)
        return totals

    def logs(self, *, steps: int, iterations: int) -> Logs:
        """Return the figures of episodes and time by their log names, given the agent's steps and iterations."""
        logs: Logs = {}
        if self.episodes:
            logs["rollout/ep_rew_mean"], logs["rollout/ep_len_mean"] = self._totals()[:, :2].mean(axis=0).tolist()
            logs |= mean_costs(self.episodes, self._costs, "rollout/ep_cost_mean/")
            logs |= {f"rollout/{name}": mean for name, mean in mean_infos(self.episodes).items()}
        if self._costs:
            *totals, _ = self.cost_totals().tolist()
            logs |= {f"rollout/cost_total/{name}": each for name, each in zip(self._costs, totals, strict=True)}
        if self._branch_steps is not None:
            logs["rollout/branch_steps"] = self._branch_steps
        elapsed = self._elapsed
        return {
            **logs,
            "time/total_timesteps": steps,
            "time/iterations": iterations,
            "time/time_elapsed": elapsed,
            "time/fps": (steps - self.first_steps - self._skipped) / elapsed,
        }

    def missing(self, rollout: Rollout, *, steps: int) -> list[str]:
        """Return warnings of figures that no episode has had, given the last rollout and the agent's steps."""
        if not self.episodes:
            return [f"no episode has ended in {steps - self.first_steps} steps: returns and lengths are not known"]
        found = {name for episode in self.episodes for name in episode.infos}
        return [f"no info of an episode's last step had the key {key!r}" for key in rollout.infos if key not in found]

    def state(self) -> dict[str, Any]:
        """Return all that `restore` needs, as numbers and arrays."""
        return {
            "first_steps": self.first_steps,
            "elapsed": self._elapsed,
            "episodes": self._totals(),
            "infos": [dict(episode.infos) for episode in self.episodes],
            "returns": self.tracker.returns.copy(),
            "costs": self.tracker.costs.copy(),
            "lengths": self.tracker.lengths.copy(),
        }

    def restore(self, state: dict[str, Any], *, unfinished: bool) -> None:
        """Continue from a state, with its unfinished episodes or without them.

        Raises:
          ValueError: the state is impossible.
        """
        episodes, returns, lengths, costs = (state[name] for name in ("episodes", "returns", "lengths", "costs"))
        fits = returns.shape == lengths.shape == self.tracker.returns.shape and costs.shape == self.tracker.costs.shape
        fits = fits and episodes.shape[1:] == (2 + len(self._costs),)
        possible = all(np.isfinite(array).all() for array in (episodes, returns, costs))
        possible = possible and min(lengths.min(), episodes[:, 1].min(initial=0.0)) >= 0 <= state["elapsed"] < math.inf
        if not (fits and possible and lengths.dtype == np.int64 and returns.dtype == costs.dtype == np.float64):
            raise ValueError("the episodes of the checkpoint are impossible")
        infos = [{str(name): float(figure) for name, figure in info.items()} for info in state["infos"]]
        for (total, length, *own), info in zip(episodes.tolist(), infos, strict=True):
            self.episodes.append(Episode(total, int(length), info, tuple(own)))
        self.first_steps, self._before = int(state["first_steps"]), float(state["elapsed"])
        if unfinished:
            self.tracker.returns, self.tracker.lengths, self.tracker.costs = (
                returns.copy(),
                lengths.copy(),
                costs.copy(),
            )

    def _totals(self) -> np.ndarray:
        """Return the returns, lengths and costs of the last episodes, float64 [N, 2 + C]."""
        rows = [(*episode[:2], *episode.costs) for episode in self.episodes]
        return np.array(rows, np.float64).reshape(-1, 2 + len(self._costs))

    @property
    def _elapsed(self) -> float:
        """Seconds of the fit, including those before it was resumed."""
        return self._before + time.perf_counter() - self._start

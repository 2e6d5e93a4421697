"""The last episodes and the time of a fit."""

from __future__ import annotations

import math
import time
from collections import deque
from typing import Any

import numpy as np

from tf_trpo.rollouts import Episode, EpisodeTracker, Rollout
from tf_trpo.training.metrics import Logs, episode_logs, time_logs

_EPISODE_WINDOW = 100
"""Episodes that the reported mean return and length are taken over, as Stable-Baselines3 does."""


class Report:
    """Keeps the last episodes and the time of a fit.

    Args:
      num_envs: B, environments stepped together.
      steps: environment steps of the agent when the fit began.

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
        steps_of_fit, elapsed = steps - self.first_steps - self._skipped, self._elapsed
        clock = time_logs(steps=steps, iterations=iterations, elapsed=elapsed, steps_of_fit=steps_of_fit)
        return {**episode_logs(self.episodes), **clock}

    def state(self) -> dict[str, Any]:
        """Give all that `restore` needs, as numbers and arrays."""
        return {
            "first_steps": self.first_steps,
            "elapsed": self._elapsed,
            "episodes": np.array(self.episodes, np.float64).reshape(-1, 2),
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
        self.episodes.extend(Episode(float(total), int(length)) for total, length in episodes)
        self.first_steps, self._before = int(state["first_steps"]), float(state["elapsed"])
        if unfinished:
            self.tracker.returns, self.tracker.lengths = returns.copy(), lengths.copy()

    @property
    def _elapsed(self) -> float:
        """Seconds of the fit, those before a resumption included."""
        return self._before + time.perf_counter() - self._start

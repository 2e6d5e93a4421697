"""What the logs of training say beside the update's own figures: the last episodes, and the time."""

from __future__ import annotations

import math
import time
from collections import deque

import numpy as np

from tf_trpo.rollouts import Episode, EpisodeTracker, Rollout
from tf_trpo.training.loop_state import LoopState

_EPISODE_WINDOW = 100
"""Episodes that the reported mean return and length are taken over, as Stable-Baselines3 does."""


class Report:
    """The last episodes and the time of a fit.

    Args:
      num_envs: environments stepped together.

    Attributes:
      tracker: of the episodes that go on.
      episodes: the last ones that ended.
      first_steps: environment steps of the agent when the fit began; None before.
    """

    def __init__(self, num_envs: int) -> None:
        self.tracker = EpisodeTracker(num_envs)
        self.episodes: deque[Episode] = deque(maxlen=_EPISODE_WINDOW)
        self.first_steps: int | None = None
        self._start: float | None = None
        self._before = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds of training, those before a resumption included."""
        return self._before if self._start is None else self._before + time.perf_counter() - self._start

    def resume(self, state: LoopState) -> None:
        self.episodes.extend(Episode(float(total), int(length)) for total, length in state.episodes)
        self.first_steps, self._before = state.start_steps, state.elapsed

    def begin(self, steps: int) -> None:
        """The first iteration is about to begin, after so many environment steps."""
        self._start = time.perf_counter()
        if self.first_steps is None:
            self.first_steps = steps

    def time_figures(self, steps: int) -> dict[str, float]:
        assert self.first_steps is not None
        elapsed = self.elapsed
        return {"time/time_elapsed": elapsed, "time/fps": (steps - self.first_steps) / elapsed}

    def episode_figures(self, rollout: Rollout) -> dict[str, float]:
        for finished in self.tracker.finished(rollout):
            self.episodes.extend(finished)
        episodes = np.array(self.episodes, np.float64).reshape(-1, 2)
        mean_return, mean_length = episodes.mean(axis=0) if len(episodes) else (math.nan, math.nan)
        return {"rollout/ep_rew_mean": float(mean_return), "rollout/ep_len_mean": float(mean_length)}

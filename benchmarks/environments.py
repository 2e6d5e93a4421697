"""Environments of the measurements with workers. Workers import this module, so it must not import TensorFlow."""

from __future__ import annotations

import resource
import time
from typing import Any

import gymnasium as gym
import numpy as np

MEMORY = "memory, MB"
"""Key of the figure that `Weighed` adds."""


class Frames(gym.Env):
    """Returns images [84, 84, 4], in episodes of 200 steps."""

    observation_space = gym.spaces.Box(0, 255, (84, 84, 4), np.uint8)
    action_space = gym.spaces.Discrete(6)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._time = 0
        self._image = self.np_random.integers(0, 256, (84, 84, 4), dtype=np.uint8)
        return self._image, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._time += 1
        return self._image, float(action), False, self._time == 200, {}


class Busy(gym.Wrapper):
    """Adds some microseconds of computation to each step."""

    def __init__(self, env: gym.Env, microseconds: int) -> None:
        super().__init__(env)
        self._seconds = 1e-6 * microseconds

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        end = time.thread_time() + self._seconds
        while time.thread_time() < end:
            pass
        return self.env.step(action)


class Waiting(Busy):
    """Adds some microseconds of waiting to each step, as for a remote simulator; this needs no core."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        time.sleep(self._seconds)
        return self.env.step(action)


class Weighed(gym.Wrapper):
    """Adds the peak memory of its process to the infos."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        *found, info = self.env.step(action)
        info[MEMORY] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return (*found, info)

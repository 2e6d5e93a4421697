"""An environment of random images, registered as `benchmarks.random_images:RandomImages-v0`, for both sides."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class RandomImages(gym.Env):
    """Observations are bytes of no meaning, 84x84x4; the reward is 1 for action 0."""

    observation_space = spaces.Box(0, 255, (84, 84, 4), np.uint8)
    action_space = spaces.Discrete(4)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return self._image(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        return self._image(), float(action == 0), False, False, {}

    def _image(self) -> np.ndarray:
        return self.np_random.integers(0, 256, (84, 84, 4), np.uint8)


gym.register("RandomImages-v0", "benchmarks.random_images:RandomImages", max_episode_steps=100)

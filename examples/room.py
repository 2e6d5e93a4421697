"""An environment of one's own: keep a room at 20 degrees with a heater of up to 1000 watts."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np


class Room(gym.Env):
    """A room whose temperature is observed, in degrees Celsius; the action is the heater's power, in watts."""

    observation_space = gym.spaces.Box(-50, 50, (1,))
    action_space = gym.spaces.Box(0, 1000, (1,))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.celsius, self.steps = self.np_random.uniform(10, 15, 1).astype(np.float32), 0
        return self.celsius, {}

    def step(self, watts: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.celsius, self.steps = self.celsius + watts / 500 - 0.05 * (self.celsius - 5), self.steps + 1
        return self.celsius, -abs(self.celsius[0] - 20), False, self.steps == 50, {}

"""A walk whose episodes are easy to compute, and a demonstrator for it."""

import gymnasium as gym
import numpy as np
import pytest


class Walk(gym.Env):
    """A walk from 0 by steps to the right or left; it terminates at 3, and is truncated after 8 steps."""

    observation_space = gym.spaces.Dict(
        at=gym.spaces.Discrete(8, start=-4), seen=gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    )
    action_space = gym.spaces.Discrete(2, start=5)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.steps = 0, 0
        self.noise = self.np_random.normal()
        return self._seen(), {}

    def _seen(self):
        return {"at": self.at, "seen": np.array([self.noise, self.steps])}

    def step(self, action):
        assert action in (5, 6)
        self.at = max(-4, self.at + (1 if action == 6 else -1))
        self.steps += 1
        ended = self.at == 3
        return self._seen(), float(self.at), ended, not ended and self.steps == 8, {}


@pytest.fixture(scope="session")
def walk():
    return Walk


@pytest.fixture
def stray():
    """Actions that go back once per episode if its noise is positive, and never arrive if the noise is above 1."""

    def act(observation):
        noise, steps = observation["seen"]
        return 5 if noise > 1 or (noise > 0 and steps == 1) else 6

    return act

"""Environments for benchmarks: tasks with a known optimum in various action spaces, images, slow steps.

Workers and peers import this module, so it must not import TensorFlow.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

MEMORY = "memory, MB"
"""Key of the figure that `Weighed` adds."""
LEVER = spaces.MultiDiscrete([3, 2])
ARM = spaces.Dict(choice=spaces.Discrete(3), force=spaces.Box(-10.0, 10.0, (1,), np.float64))


class Match(gym.Env):
    """Choose the action that an observation of two numbers and a card determines. One step; the best reward is 1.

    Args:
      action_space: `LEVER` or `ARM`.
    """

    observation_space = spaces.Dict(numbers=spaces.Box(-1.0, 1.0, (2,), np.float64), card=spaces.Discrete(3))

    def __init__(self, action_space: spaces.Space) -> None:
        self.action_space = action_space
        self._numbers, self._card = np.zeros(2), 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        super().reset(seed=seed)
        self._numbers, self._card = self.np_random.uniform(-1.0, 1.0, 2), int(self.np_random.integers(3))
        return self._observation(), {}

    def step(self, action: Any) -> tuple[dict, float, bool, bool, dict]:
        first = self._numbers[0]
        if self.action_space == LEVER:
            right = [action[0] == self._card, action[1] == (first > 0)]
        else:
            right = [action["choice"] == self._card, 1.0 - min(1.0, abs(action["force"][0] - 10.0 * first) / 10.0)]
        return self._observation(), float(np.mean(right)), True, False, {}

    def _observation(self) -> dict[str, Any]:
        return {"numbers": self._numbers.copy(), "card": self._card}


class Recall(gym.Env):
    """The first observation shows one of four cues; in the last step, the action must name it.

    The best return is 1, and chance gives 0.25. All observations in between are equal.

    Args:
      length: steps of an episode, >= 2.
    """

    observation_space = spaces.Box(0.0, 1.0, (5,), np.float32)
    action_space = spaces.Discrete(4)

    def __init__(self, length: int = 10) -> None:
        self._length, self._cue, self._steps = length, 0, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self._cue, self._steps = int(self.np_random.integers(4)), 0
        return self._observation(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self._steps += 1
        ended = self._steps == self._length
        return self._observation(), float(ended and action == self._cue), ended, False, {}

    def _observation(self) -> np.ndarray:
        observation = np.zeros(5, np.float32)
        if self._steps == 0:
            observation[self._cue] = 1.0
        observation[4] = self._steps == self._length - 1
        return observation


class WithoutVelocities(gym.ObservationWrapper):
    """Keeps the positions and angles of an observation, and removes the velocities.

    Args:
      env: an environment whose observation is a vector.
      positions: indices of the elements to keep.
    """

    def __init__(self, env: gym.Env, positions: Sequence[int]) -> None:
        super().__init__(env)
        self._kept, space = list(positions), env.observation_space
        assert isinstance(space, spaces.Box)
        self.observation_space = spaces.Box(space.low[self._kept], space.high[self._kept], dtype=space.dtype.type)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        """Return the positions and angles."""
        return observation[self._kept]


def without_velocities(name: str, positions: Sequence[int], **kwargs: Any) -> gym.Env:
    """Make a Gymnasium environment without velocities in its observations."""
    return WithoutVelocities(gym.make(name, **kwargs), positions)


class VelocityLimit(gym.Wrapper):
    """Adds info["speed"] to each step: 1 if the robot is faster than a limit, otherwise 0.

    Args:
      env: a MuJoCo environment whose infos have x_velocity.
      limit: limit in metres per second.

    Source:
      The velocity tasks of Safety-Gymnasium, Ji et al. (2023), with its limits: half the speed that PPO reaches.
    """

    def __init__(self, env: gym.Env, limit: float) -> None:
        super().__init__(env)
        self._limit = limit

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        # Ant may run in any direction; the other robots have no y velocity.
        speed = float(np.hypot(info["x_velocity"], info["y_velocity"])) if "y_velocity" in info else info["x_velocity"]
        return observation, reward, terminated, truncated, {**info, "speed": float(speed > self._limit)}


def with_velocity_limit(name: str, limit: float, **kwargs: Any) -> gym.Env:
    """Make a Gymnasium environment with a `VelocityLimit`."""
    return VelocityLimit(gym.make(name, **kwargs), limit)


class RandomImages(gym.Env):
    """Gives random images of 84x84x4 bytes; the reward is 1 for action 0."""

    observation_space = spaces.Box(0, 255, (84, 84, 4), np.uint8)
    action_space = spaces.Discrete(4)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return self._image(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        return self._image(), float(action == 0), False, False, {}

    def _image(self) -> np.ndarray:
        return self.np_random.integers(0, 256, (84, 84, 4), np.uint8)


class Frames(gym.Env):
    """Returns images [84, 84, 4], in episodes of 200 steps."""

    observation_space = spaces.Box(0, 255, (84, 84, 4), np.uint8)
    action_space = spaces.Discrete(6)

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


# Suites and peers make the environments by these ids.
gym.register("RandomImages-v0", "benchmarks.tasks:RandomImages", max_episode_steps=100)
for _length in (10, 30, 60):
    gym.register(f"Recall{_length}-v0", "benchmarks.tasks:Recall", kwargs={"length": _length})
for _name, _positions in (("CartPole-v1", [0, 2]), ("Pendulum-v1", [0, 1]), ("HalfCheetah-v5", list(range(8)))):
    gym.register(
        f"{_name.split('-')[0]}Positions-v0",
        "benchmarks.tasks:without_velocities",
        kwargs={"name": _name, "positions": _positions},
    )
for _name, _limit in (("HalfCheetah", 3.2096), ("Hopper", 0.7402), ("Walker2d", 2.3415), ("Ant", 2.6222)):
    gym.register(
        f"{_name}Velocity-v0",
        "benchmarks.tasks:with_velocity_limit",
        kwargs={"name": f"{_name}-v5", "limit": _limit},
    )
gym.register("Lever-v0", "benchmarks.tasks:Match", kwargs={"action_space": LEVER})
gym.register("Arm-v0", "benchmarks.tasks:Match", kwargs={"action_space": ARM})

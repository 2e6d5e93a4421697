"""A wrapper that checks everything an environment returns, so that faults get a clear message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from tf_trpo.environments.costs import COSTS, Step, costs_of
from tf_trpo.environments.failures import EnvironmentFailedError, close_anyway, described
from tf_trpo.environments.reading import figure, flag, number
from tf_trpo.environments.sync import copied
from tf_trpo.spaces import WrongValueError, kind_of, observation_reader, observation_spec

_RESET = "reset(seed=..., options=...) must return (observation, info)"
_STEP = "step(action) must return (observation, reward, terminated, truncated, info)"

_FLAGS = (bool, np.bool_)


class GuardedEnvironment(gym.Wrapper):
    """Checks and converts what an environment returns, and drops most of its infos.

    A step returns arrays with the dtypes of the space, a float, two bools, and a small info. Merging the infos of many
    environments would take a third of the time of a cheap step, so an info keeps only the costs, and at the end of an
    episode the numbers named by `info_keys`.

    Args:
      env: the environment, with all its wrappers.
      index: position in the vector environment, for messages.
      info_keys: names of numbers in the info to keep at the end of an episode; keys of nested infos are joined by "/".
      costs: keys of infos, and functions; their values are stored under `COSTS` in the info of each step.

    Raises:
      ValueError: the observation space is not supported.
      EnvironmentFailedError: from `reset` and `step`: the environment raised, or returned a value whose type or shape
        differs from its spaces or from Gymnasium's interface.
    """

    def __init__(self, env: gym.Env, index: int, info_keys: Sequence[str] = (), costs: Sequence[Any] = ()) -> None:
        super().__init__(env)
        self._index = index
        self._read = observation_reader(observation_spec(env.observation_space))
        self._info_keys = tuple(info_keys)
        self._costs = tuple(costs)
        self._needs_steps = not all(isinstance(cost, str) for cost in costs)
        self._last: Any = None
        """The previous observation, for cost functions."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the environment."""
        try:
            given: Any = self.env.reset(seed=seed, options=options)
        except (Exception, SystemExit) as error:
            if isinstance(error, TypeError) and "unexpected keyword argument" in str(error):
                raise self._failure(f"raised {described(error)}: {_RESET}") from error
            raise self._failure(f"raised {described(error)}") from error
        if not isinstance(given, tuple) or len(given) != 2:
            raise self._failure(f"gave {kind_of(given)}: {_RESET}")
        if not isinstance(given[1], Mapping):
            raise self._failure(f"gave an info that is not a dict, but {kind_of(given[1])}: {_RESET}")
        try:
            observation = self._read(given[0])
            if self._needs_steps:
                self._last = copied(observation)
            return observation, {}
        except WrongValueError as error:
            raise self._failure(f"gave {error}") from None

    def step(self, action: Any) -> tuple[Any, float, Any, Any, dict[str, Any]]:
        """Step the environment."""
        try:
            # A copy, because an environment may change its action; the costs and the caller need the action taken.
            given: Any = self.env.step(copied(action))
        except (Exception, SystemExit) as error:
            raise self._failure(f"raised {described(error)}") from error
        if not isinstance(given, tuple) or len(given) != 5:
            raise self._failure(f"gave {kind_of(given)} for a step: {_STEP}")
        observation, reward, terminated, truncated, info = given
        # isinstance is slow for an abstract class.
        if type(info) is not dict and not isinstance(info, Mapping):
            raise self._failure(f"gave an info that is not a dict, but {kind_of(info)}: {_STEP}")
        name = ""
        try:
            observation = self._read(observation)
            name = "a reward "
            reward = reward if isinstance(reward, float) else number(reward)
            name = "a value of terminated "
            terminated = terminated if isinstance(terminated, _FLAGS) else flag(terminated)
            name = "a value of truncated "
            truncated = truncated if isinstance(truncated, _FLAGS) else flag(truncated)
            figures: dict[str, Any] = {}
            if self._info_keys and (terminated or truncated):
                for key in self._info_keys:
                    name = f"an info[{key!r}] "
                    figures[key] = figure(info, key)
            if self._costs:
                name = ""
                figures[COSTS] = self._costs_of(action, observation, reward, info)
        except WrongValueError as error:
            raise self._failure(f"gave {name}{error}") from None
        return observation, reward, terminated, truncated, figures

    def close(self) -> None:
        """Close the environment; what it raises is logged as a warning."""
        close_anyway(self.env, f"environment {self._index}")

    def _costs_of(self, action: Any, observation: Any, reward: float, info: Any) -> np.ndarray:
        step = Step(self._last, action, reward, observation, info)
        try:
            costs = costs_of(self._costs, step)
        except WrongValueError:
            raise
        except (Exception, SystemExit) as error:
            raise self._failure(f"gave a step for which a cost raised {described(error)}") from error
        if self._needs_steps:
            self._last = copied(observation)
        return costs

    def _failure(self, what: str) -> EnvironmentFailedError:
        return EnvironmentFailedError(f"environment {self._index} {what}")

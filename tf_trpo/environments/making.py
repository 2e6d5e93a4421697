"""Making one environment: from an id or a function, with wrappers that are given by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym

from tf_trpo.environments.episodes import SeededEpisodes
from tf_trpo.environments.guarded import GuardedEnvironment
from tf_trpo.environments.in_use import check_new
from tf_trpo.environments.masks import ActionMasks, with_masks

Wrapper = str | Callable[[gym.Env], gym.Env]
"""A function from an environment to an environment, such as a class of wrappers, or its name "module:Class"."""


class EnvironmentMaker:
    """Makes copies of an environment, each with its wrappers, checks and seeds; can be sent to another process.

    Args:
      environment: a Gymnasium id, or a function without arguments that makes a new environment at every call.
      env_kwargs: arguments for the environment, with an id.
      wrappers: put on the environment in this order.
      action_masks: where masks of actions come from.
      info_keys: names of numbers of the info to keep at episode ends.

    Raises:
      ValueError: env_kwargs go with a function, or a wrapper cannot be found.
    """

    def __init__(
        self,
        environment: str | Callable[[], gym.Env],
        *,
        env_kwargs: Mapping[str, Any] | None = None,
        wrappers: Sequence[Wrapper] = (),
        action_masks: ActionMasks = "auto",
        info_keys: Sequence[str] = (),
    ) -> None:
        if env_kwargs and not isinstance(environment, str):
            raise ValueError("env_kwargs go with an environment id; a factory already knows its arguments")
        self._environment = environment
        self._env_kwargs = dict(env_kwargs or {})
        self._wrappers = [find_wrapper(each) if isinstance(each, str) else each for each in wrappers]
        self._action_masks = action_masks
        self._info_keys = tuple(info_keys)

    def __call__(self, index: int) -> gym.Env:
        """Make the environment of a position in a vector environment."""
        if isinstance(self._environment, str):
            env = made = self._from_id(self._environment)
        else:
            env = made = self._environment()
            if not isinstance(env, gym.Env):
                raise ValueError(f"the function must make a gymnasium.Env, it gave a {type(env).__name__}")
            check_new(env)
        try:
            for wrapper in self._wrappers:
                env = wrapper(env)
                if not isinstance(env, gym.Env):
                    raise ValueError(f"the wrapper {wrapper} must give a gymnasium.Env, it gave a {type(env).__name__}")
            env = with_masks(env, self._action_masks)
            return SeededEpisodes(GuardedEnvironment(env, index, self._info_keys), index)
        except Exception:
            made.close()
            raise

    def _from_id(self, env_id: str) -> gym.Env:
        try:
            return gym.make(env_id, **self._env_kwargs)
        except TypeError as error:
            if not self._env_kwargs:
                raise
            raise ValueError(f"{env_id} cannot be made with the env_kwargs {self._env_kwargs}: {error}") from error


def wrapper_name(wrapper: Wrapper) -> str:
    """Name a wrapper as "module:Class", to tell runs apart."""
    if isinstance(wrapper, str):
        return wrapper
    return f"{wrapper.__module__}:{getattr(wrapper, '__qualname__', type(wrapper).__name__)}"


def find_wrapper(name: str) -> Callable[[gym.Env], gym.Env]:
    """Import "module:Class".

    Raises:
      ValueError: the name has another form, or there is no such module or class.
    """
    module, colon, attribute = name.partition(":")
    if not colon or not module or not attribute:
        raise ValueError(f"a wrapper is named by module:Class, got {name!r}")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"the wrapper {name} cannot be imported: {error}") from None
    if not callable(found):
        raise ValueError(f"the wrapper {name} is no class or function")
    return found

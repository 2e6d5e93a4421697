"""No environment is used twice: neither by two owners at once, nor by another one after it was closed."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv, VectorWrapper

_given: weakref.WeakValueDictionary[int, gym.Env] = weakref.WeakValueDictionary()
"""Environments that functions have given, by their id."""
_used: set[int] = set()
"""Ids of the vector environments, and of the environments in them, that are in use; their users hold them."""


def check_new(env: gym.Env) -> gym.Env:
    """Give an environment that a function made; raise ValueError if a function has given the same object before."""
    inner = env.unwrapped
    if _given.get(id(inner)) is inner:
        raise ValueError(
            f"the function gave the same {type(inner).__name__} object twice: it must make a new environment at "
            "every call, since environments are closed after use"
        )
    with contextlib.suppress(TypeError):  # An object with __slots__ may allow no weak references.
        _given[id(inner)] = inner
    return env


def check_free(environments: Any) -> None:
    """Raise ValueError if a vector environment is closed or in use; anything else is not looked at."""
    if not isinstance(environments, VectorEnv):
        return
    if environments.closed or environments.unwrapped.closed:
        raise ValueError("the vector environment is closed: make a new one")
    if _used & _objects(environments):
        raise ValueError(
            "the vector environment is in use by a fit or an evaluation that has not ended, whose episodes would be "
            "torn apart: make another one for this use"
        )


@contextlib.contextmanager
def exclusive(environments: VectorEnv) -> Iterator[VectorEnv]:
    """Use a vector environment alone: all others who step or reset it meanwhile are refused.

    Raises:
      ValueError: it is closed or in use.
    """
    check_free(environments)
    objects = _objects(environments)
    _used.update(objects)
    owned = ExclusiveVectorEnv(environments)
    try:
        yield owned
    finally:
        owned.release()
        _used.difference_update(objects)


class ExclusiveVectorEnv(VectorWrapper):
    """Lets only its own steps and resets through to a vector environment."""

    def __init__(self, env: VectorEnv) -> None:
        super().__init__(env)
        self._is_mine = False
        self._base = env.unwrapped
        for name in ("step", "reset"):
            setattr(self._base, name, self._guarded(getattr(self._base, name), name))

    def step(self, actions: Any) -> Any:
        self._is_mine = True
        try:
            return self.env.step(actions)
        finally:
            self._is_mine = False

    def reset(self, **kwargs: Any) -> Any:
        self._is_mine = True
        try:
            return self.env.reset(**kwargs)
        finally:
            self._is_mine = False

    def release(self) -> None:
        """Let everybody step and reset again."""
        for name in ("step", "reset"):
            # The class's own method shows again.
            self._base.__dict__.pop(name, None)

    def _guarded(self, method: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if not self._is_mine:
                raise RuntimeError(
                    f"{name} of a vector environment that a fit or an evaluation is using: make another one for this"
                )
            return method(*args, **kwargs)

        return call


def _objects(environments: VectorEnv) -> set[int]:
    inner = environments.unwrapped
    return {id(inner), *(id(env.unwrapped) for env in getattr(inner, "envs", ()) if isinstance(env, gym.Env))}

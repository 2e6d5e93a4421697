"""No environment is used twice: neither by two owners at once, nor by another one after it was closed."""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv, VectorWrapper

_given: weakref.WeakValueDictionary[int, gym.Env] = weakref.WeakValueDictionary()
"""Environments that functions have given, by their id."""
_used: set[int] = set()
"""Ids of the vector environments, and of the environments in them, that are in use; their users hold them."""
_USERS = "a fit or an evaluation that has not ended"
_TORN = f"the vector environment is in use by {_USERS}, whose episodes would be torn apart: make another one"


def check_new(env: gym.Env) -> gym.Env:
    """Give an environment that a function made; raise ValueError if it is in use, or a function gave it before."""
    inner = env.unwrapped
    if id(inner) in _used or _given.get(id(inner)) is inner:
        found = f"object that {_USERS} is using" if id(inner) in _used else "object twice"
        raise ValueError(
            f"the function gave the same {type(inner).__name__} {found}: it must make a new environment at every call, "
            "since environments are closed after use"
        )
    with contextlib.suppress(TypeError):  # An object with __slots__ may allow no weak references.
        _given[id(inner)] = inner
    return env


def check_free(environments: Any) -> None:
    """Raise ValueError if a vector environment is closed, in use, or has one environment twice.

    Anything else is not looked at.
    """
    if not isinstance(environments, VectorEnv):
        return
    if environments.closed or environments.unwrapped.closed:
        raise ValueError("the vector environment is closed: make a new one")
    objects = _objects(environments)
    with alone(objects, _TORN):
        if len(set(map(id, objects))) < len(objects):
            raise ValueError("the vector environment has the same environment object twice: make one for each place")


@contextlib.contextmanager
def alone(objects: Iterable[Any], refusal: str) -> Iterator[None]:
    """Use objects; raise ValueError, with the refusal, if another use of one of them has not ended."""
    ids = {id(each) for each in objects}
    if _used & ids:
        raise ValueError(refusal)
    _used.update(ids)
    try:
        yield
    finally:
        _used.difference_update(ids)


def in_use(environments: VectorEnv) -> contextlib.AbstractContextManager[None]:
    """Refuse all other uses of a vector environment, and of the environments in it, meanwhile."""
    return alone(_objects(environments), _TORN)


@contextlib.contextmanager
def exclusive(environments: VectorEnv) -> Iterator[VectorEnv]:
    """Use a vector environment of the caller's alone: all others who step or reset it meanwhile are refused.

    Raises:
      ValueError: it is in use.
    """
    with in_use(environments):
        owned = ExclusiveVectorEnv(environments)
        try:
            yield owned
        finally:
            owned.release()


class ExclusiveVectorEnv(VectorWrapper):
    """Lets only its own steps and resets through to a vector environment and to the environments in it."""

    def __init__(self, env: VectorEnv) -> None:
        super().__init__(env)
        self.is_mine = False
        self._before = []
        for attributes, name, method in [
            (vars(each), name, getattr(each, name)) for each in _objects(env) for name in ("step", "reset")
        ]:
            self._before.append((attributes, name, {name: attributes[name]} if name in attributes else {}))
            attributes[name] = _Guarded(self, name, method)

    def step(self, actions: Any) -> Any:
        return self._mine(self.env.step, actions)

    def reset(self, **kwargs: Any) -> Any:
        return self._mine(self.env.reset, **kwargs)

    def release(self) -> None:
        """Let everybody step and reset again: by the object's own methods, if it had any, or by its class's."""
        for attributes, name, before in self._before:
            attributes.pop(name, None)
            attributes |= before

    def _mine(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.is_mine = True
        try:
            return method(*args, **kwargs)
        finally:
            self.is_mine = False


class _Guarded:
    """A method that only the owner may have called; in a copy of its object, the method itself."""

    def __init__(self, owner: ExclusiveVectorEnv, name: str, method: Callable[..., Any]) -> None:
        self._owner, self._name, self._method = owner, name, method

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._owner.is_mine:
            raise RuntimeError(f"{self._name} of an environment that {_USERS} is using: make another one for this")
        return self._method(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial, (self._method,)


def _objects(environments: VectorEnv) -> list[Any]:
    """List the vector environment without wrappers, and the environments in it."""
    inner = environments.unwrapped
    return [inner, *(env.unwrapped for env in getattr(inner, "envs", ()) if isinstance(env, gym.Env))]

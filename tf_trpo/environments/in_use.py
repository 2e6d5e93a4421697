"""Prevent an environment from being used twice: by two users at once, or again after it was closed."""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv, VectorWrapper

_given: weakref.WeakValueDictionary[int, gym.Env] = weakref.WeakValueDictionary()
"""Environments that factories have returned, by `id`."""
_used: set[int] = set()
"""`id` of each vector environment in use and of the environments in it. Users keep references, so no id is reused."""
_USERS = "a fit or an evaluation that has not ended"
_TORN = f"the vector environment is in use by {_USERS}, whose episodes would be torn apart: make another one"


def check_new(env: gym.Env) -> gym.Env:
    """Return a factory's environment; raise ValueError if it is in use, or a factory returned it before."""
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
    """Raise ValueError if a vector environment is closed, in use, or contains the same environment twice.

    Other objects are not checked.
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
    """Mark objects as in use; raise ValueError with the message `refusal` if one of them is in use already."""
    ids = {id(each) for each in objects}
    if _used & ids:
        raise ValueError(refusal)
    _used.update(ids)
    try:
        yield
    finally:
        _used.difference_update(ids)


def in_use(environments: VectorEnv) -> contextlib.AbstractContextManager[None]:
    """Mark a vector environment, and the environments in it, as in use; raise ValueError if one of them is already."""
    return alone(_objects(environments), _TORN)


@contextlib.contextmanager
def exclusive(environments: VectorEnv) -> Iterator[VectorEnv]:
    """Open a caller's vector environment for exclusive use: until the end, steps and resets by others raise.

    Raises:
      ValueError: the vector environment is in use.
    """
    with in_use(environments):
        owned = ExclusiveVectorEnv(environments)
        try:
            yield owned
        finally:
            owned.release()


class ExclusiveVectorEnv(VectorWrapper):
    """Blocks steps and resets of a vector environment, and of the environments in it, that bypass this wrapper."""

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
        """Restore the `step` and `reset` of all objects: those set on the object, if there were any, or the class's."""
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
    """A method that only the owner may call. Pickling or copying it gives the unguarded method."""

    def __init__(self, owner: ExclusiveVectorEnv, name: str, method: Callable[..., Any]) -> None:
        self._owner, self._name, self._method = owner, name, method

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._owner.is_mine:
            raise RuntimeError(f"{self._name} of an environment that {_USERS} is using: make another one for this")
        return self._method(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial, (self._method,)


def _objects(environments: VectorEnv) -> list[Any]:
    """Return the unwrapped vector environment and the unwrapped environments in it."""
    inner = environments.unwrapped
    return [inner, *(env.unwrapped for env in getattr(inner, "envs", ()) if isinstance(env, gym.Env))]

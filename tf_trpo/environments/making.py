"""Make one environment from an id or a function, with wrappers."""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym

from tf_trpo.environments.costs import Cost, find_costs
from tf_trpo.environments.episodes import SeededEpisodes
from tf_trpo.environments.failures import NoSpaceError, close_anyway, described, importing, making
from tf_trpo.environments.guarded import GuardedEnvironment
from tf_trpo.environments.in_use import check_new
from tf_trpo.environments.masks import ActionMasks, with_masks

Wrapper = str | Callable[[gym.Env], gym.Env]
"""A wrapper class, or another function from an environment to an environment, or its name "module:Class".

"module:Class(4)" calls the class with an integer as its second argument."""


def make_environment(
    index: int,
    environment: str | Callable[[], gym.Env],
    *,
    env_kwargs: Mapping[str, Any] | None = None,
    wrappers: Sequence[Wrapper] = (),
    action_masks: ActionMasks = "auto",
    info_keys: Sequence[str] = (),
    costs: Sequence[Cost] = (),
) -> gym.Env:
    """Make the environment at position `index` of a vector environment, with its wrappers, checks and seeds.

    The other arguments are those of `make_vector_environment`.

    Raises:
      NoSpaceError: the environment has no observation space or no action space.
      ValueError: env_kwargs are given with a function, or a wrapper cannot be found; or as `make_vector_environment`.
    """
    env = make_wrapped(environment, env_kwargs=env_kwargs, wrappers=wrappers, action_masks=action_masks)
    try:
        return SeededEpisodes(GuardedEnvironment(env, index, info_keys, find_costs(costs)), index)
    except Exception:
        close_anyway(env)
        raise


def make_wrapped(
    environment: str | Callable[[], gym.Env],
    *,
    env_kwargs: Mapping[str, Any] | None = None,
    wrappers: Sequence[Wrapper] = (),
    action_masks: ActionMasks = "auto",
) -> gym.Env:
    """Make an environment with its wrappers and masks, but without the checks and seeds that training adds.

    The arguments and errors are those of `make_environment`.
    """
    chosen = [find_wrapper(each) if isinstance(each, str) else each for each in wrappers]
    env = _made(environment, env_kwargs or {})
    try:
        # A wrapper would fail, and seem to be at fault.
        _check_spaces(env)
        for wrapper in chosen:
            with making(f"the wrapper {wrapper_name(wrapper)}"):
                wrapped = wrapper(env)
            env = _checked(wrapped, f"wrapper {wrapper} must give")
        _check_spaces(env)
        return with_masks(env, action_masks)
    except Exception:
        close_anyway(env)
        raise


def _made(environment: Any, env_kwargs: Mapping[str, Any]) -> gym.Env:
    if not isinstance(environment, str):
        if not callable(environment):
            found = f"a {type(environment).__name__} is neither (give the class, not an object of it)"
            raise ValueError(f"an environment is given by its Gymnasium id or by a function that makes it; {found}")
        if env_kwargs:
            raise ValueError("env_kwargs go with an environment id; a factory already knows its arguments")
        with making():
            env = environment()
        return check_new(_checked(env, "function must make"))
    maker = find_maker(environment)
    with making(environment, env_kwargs):
        if maker is None:
            return _registered(environment, env_kwargs)
        env = maker(**env_kwargs)
    return check_new(_checked(env, f"function {environment} must make"))


def _registered(name: str, env_kwargs: Mapping[str, Any]) -> gym.Env:
    try:
        return gym.make(name, **env_kwargs)
    except gym.error.UnregisteredEnv as error:
        module, _, own_name = name.rpartition(":")
        if module:
            error.add_note(f"{module} has no class or function {own_name} either.")
        raise


def _checked(env: Any, giver: str) -> gym.Env:
    if not isinstance(env, gym.Env):
        raise ValueError(f"the {giver} a gymnasium.Env, it gave a {type(env).__name__}")
    return env


def _check_spaces(env: gym.Env) -> None:
    for name in ("observation_space", "action_space"):
        try:
            space = getattr(env, name)
        except Exception as error:
            raise NoSpaceError(f"the environment has no {name} ({described(error)})") from error
        if not isinstance(space, gym.Space):
            raise NoSpaceError(f"the environment's {name} is {space!r}, which is not a Gymnasium space")


def wrapper_name(wrapper: Wrapper) -> str:
    """Return a wrapper's name "module:Class", with the arguments of a functools.partial, to compare runs."""
    if isinstance(wrapper, str):
        return wrapper
    if isinstance(wrapper, functools.partial):
        given = [*map(repr, wrapper.args), *(f"{name}={value!r}" for name, value in sorted(wrapper.keywords.items()))]
        return f"{wrapper_name(wrapper.func)}({without_addresses(', '.join(given))})"
    module = getattr(wrapper, "__module__", None) or type(wrapper).__module__
    return f"{module}:{getattr(wrapper, '__qualname__', type(wrapper).__name__)}"


def without_addresses(text: str) -> str:
    """Remove the addresses of objects, which differ between processes."""
    return re.sub(" at 0x[0-9a-fA-F]+", "", text)


def find_maker(name: str) -> Callable[..., gym.Env] | None:
    """Import the environment class, or the function that makes environments, that "module:Class" names.

    Args:
      name: "module:Class", or a Gymnasium id, which may begin with a module too.

    Returns:
      The class or function; None if the name does not name one, or if it is a registered id, and so must be an id.

    Raises:
      ValueError: the module cannot be imported.
    """
    if not re.fullmatch(r"\w[\w.]*:\w+", name):
        return None
    module, _, attribute = name.partition(":")
    with importing(f"the module of {name}"):
        found = getattr(importlib.import_module(module), attribute, None)
    return found if callable(found) and attribute not in gym.registry else None


def find_wrapper(name: str) -> Callable[[gym.Env], gym.Env]:
    """Import the wrapper "module:Class", or "module:Class(NUMBER)", whose arguments are the environment and NUMBER.

    Raises:
      ValueError: the name has another form, or the module or the class does not exist.
    """
    parts = re.fullmatch(r"([\w.]+:\w+)(?:\((\d{1,9})\))?", name)
    if not parts:
        raise ValueError(f"a wrapper is named by module:Class, got {name!r}")
    with importing(f"the wrapper {name}"):
        found = pkgutil.resolve_name(parts[1])
    if not callable(found):
        raise ValueError(f"the wrapper {name} is not a class or function")
    number = parts[2]
    return found if number is None else lambda env: found(env, int(number))

"""Make a checked vector environment from an id, a factory, or a vector environment."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias, get_args

import gymnasium as gym
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import iterate

from tf_trpo import ranges
from tf_trpo.environments.costs import Cost, cost_labels, refuse_functions
from tf_trpo.environments.envpool import EnvPoolVectorEnv
from tf_trpo.environments.episodes import REPLAY
from tf_trpo.environments.failures import close_anyway, importing, making
from tf_trpo.environments.in_use import ExclusiveVectorEnv, check_free, exclusive, in_use
from tf_trpo.environments.infos import KeptInfos, kept_costs, kept_infos
from tf_trpo.environments.making import Wrapper, find_maker, make_environment
from tf_trpo.environments.masks import ActionMasks
from tf_trpo.environments.own_vectors import AdaptedVectorEnv
from tf_trpo.environments.processes import GuardedAsyncVectorEnv
from tf_trpo.environments.sync import BareSyncVectorEnv
from tf_trpo.ranges import check_types, check_whole_numbers, require

VectorBackend = Literal["sync", "async", "envpool", "vector"]
Environment: TypeAlias = str | Callable[[], gym.Env] | VectorEnv


def make_vector_environment(
    environment: Environment,
    num_envs: int = 1,
    *,
    backend: VectorBackend = "sync",
    env_kwargs: Mapping[str, Any] | None = None,
    wrappers: Sequence[Wrapper] = (),
    action_masks: ActionMasks = "auto",
    info_keys: Sequence[str] = (),
    costs: Sequence[Cost] = (),
    timeout: float = 300.0,
) -> VectorEnv:
    """Make a vector environment that a `LocalSource` can step, or check and adapt the caller's.

    Observations and actions are arrays [B, ...], or dicts and tuples of arrays, with the dtypes of the spaces. The
    infos of a step are empty except for the costs and, if an episode ended, the numbers named by `info_keys`.

    Args:
      environment: a Gymnasium id, a function without arguments that makes a new environment at every call, the name
        "module:Class" of a class or function, or a vector environment in any autoreset mode, including Gymnasium's
        vector entry points and SuperSuit's vectors of PettingZoo environments.
      num_envs: number of environments to step together, >= 1; a vector environment has its own number.
      backend: "sync" steps one after the other in this process (fastest for cheap environments), "async" in a process
        each, "envpool" in EnvPool's C++ threads (an extra; ids only), "vector" all together, by the vector entry point
        with which the environment is registered (ids only). An environment that computes by TensorFlow works with
        "sync" only.
      env_kwargs: arguments of the environment; ids and names only.
      wrappers: wrapper classes, or their names "module:Class", applied to each environment in this order.
      action_masks: where action masks come from: "auto", "info" or "off"; see `ActionMasks`.
      info_keys: names of numbers in the infos, returned at the end of an episode as float64 [B], NaN for environments
        whose episode did not end or whose info lacks the number; keys of nested infos are joined by "/".
      costs: costs that the infos of each step hold as float64 [B, C]; see `Cost`. A vector environment takes no cost
        functions.
      timeout: seconds that a step or a reset of all environments may take, > 0; backend "async" only, since the others
        cannot be interrupted.

    Returns:
      A vector environment with the interface of NEXT_STEP autoreset.

    Raises:
      TypeError: an argument has the wrong type.
      ValueError: the observation space is not supported, a vector environment is closed or was made with other costs or
        without infos that are asked for, or a setting is out of range.
      ImportError: EnvPool is asked for and not installed.
      EnvironmentFailedError: an environment cannot be made.
    """
    check_whole_numbers(num_envs=num_envs)
    check_types(wrappers=(wrappers, list | tuple), info_keys=(info_keys, list | tuple), costs=(costs, list | tuple))
    check_types(env_kwargs=(env_kwargs, Mapping | None))
    require(backend in get_args(VectorBackend), "backend", ranges.described(VectorBackend), backend)
    made_with: dict[str, Any] = {"env_kwargs": env_kwargs, "wrappers": wrappers, "action_masks": action_masks}
    if isinstance(environment, VectorEnv):
        given = {"num_envs": num_envs, "backend": backend, "timeout": timeout, **made_with}
        refuse_making(given, "vector environment", num_envs=environment.num_envs)
        check_free(environment)
        checks_itself = isinstance(environment, BareSyncVectorEnv | GuardedAsyncVectorEnv | AdaptedVectorEnv)
        environments: VectorEnv = environment if checks_itself else AdaptedVectorEnv(environment)
        _check_kept(environment, info_keys, costs)
        if kept_costs(environment) != cost_labels(costs):
            refuse_functions(costs)
        elif not info_keys:
            costs = ()
    elif not isinstance(environment, str) and not callable(environment):
        raise ValueError(
            f"an environment is given by its Gymnasium id, by a function that makes it, or as a vector environment; "
            f"a {type(environment).__name__} is none of these "
            + (
                "(see supersuit.pettingzoo_env_to_vec_env_v1)"
                if hasattr(environment, "possible_agents")
                else "(give the class, not an object of it)"
            )
        )
    elif backend in ("envpool", "vector"):
        if wrappers or action_masks == "info":
            raise ValueError(f"the backend {backend} takes no wrappers and gives no masks: use another backend")
        refuse_functions(costs)
        make_together: Any = EnvPoolVectorEnv if backend == "envpool" else _make_by_vector_entry_point
        together = make_together(environment, num_envs, env_kwargs or {})
        try:
            environments = AdaptedVectorEnv(together)
        except Exception:
            close_anyway(together, "the vector environment")
            raise
    else:
        make = functools.partial(
            make_environment, environment=environment, **made_with, info_keys=info_keys, costs=costs
        )
        makers = [functools.partial(make, index) for index in range(num_envs)]
        environments = _make_gymnasium(makers, backend, timeout)
    return KeptInfos(environments, info_keys, costs) if info_keys or costs else environments


def _check_kept(environment: VectorEnv, info_keys: Sequence[str], costs: Sequence[Cost]) -> None:
    """Raise ValueError if a vector environment made here was made with other costs, or drops infos asked for."""
    labels, kept = cost_labels(costs), kept_costs(environment)
    if labels and kept and labels != kept:
        raise ValueError(
            f"the vector environment was made with the costs {', '.join(kept)}, not with {', '.join(labels)}: make it "
            "with the same costs in the same order"
        )
    own = KeptInfos | BareSyncVectorEnv | GuardedAsyncVectorEnv
    lost = [name for name in (*labels, *info_keys) if name not in (*kept, *kept_infos(environment))]
    if lost and (isinstance(environment, own) or isinstance(without_own_wrappers(environment), own)):
        raise ValueError(
            f"the vector environment was made without {', '.join(lost)}, and keeps no other infos: name costs and "
            "info_keys in make_vector_environment"
        )


def refuse_making(given: Mapping[str, Any], kind: str, *, num_envs: int) -> None:
    """Raise ValueError if arguments of `make_vector_environment` are given for environments that exist already.

    Args:
      given: the arguments by name. Defaults, and a num_envs that is right, are accepted.
      kind: description of the object with the environments, for the message.
      num_envs: the number of environments that exist.
    """
    parameters = inspect.signature(make_vector_environment).parameters
    usual = {"num_envs": (1, num_envs)}
    names = [
        name for name, value in given.items() if value and value not in usual.get(name, (parameters[name].default,))
    ]
    if names:
        raise ValueError(f"{', '.join(names)} would have no effect: the environments of the {kind} are made already")


@contextmanager
def open_vector_environment(environment: Environment, num_envs: int, **kwargs: Any) -> Iterator[VectorEnv]:
    """Make a vector environment by `make_vector_environment`; close it at the end unless the caller made it.

    Raises:
      As `make_vector_environment`.
      ValueError: the vector environment is in use already.
    """
    environments = make_vector_environment(environment, num_envs, **kwargs)
    if isinstance(environment, VectorEnv):
        with exclusive(environments) as owned:
            yield owned
        return
    try:
        with in_use(environments):
            yield environments
    finally:
        close_anyway(environments, "the vector environment")


def without_own_wrappers(environments: VectorEnv) -> VectorEnv:
    """Remove the wrappers of this package that do not change the episodes."""
    while isinstance(environments, KeptInfos | ExclusiveVectorEnv) or (
        isinstance(environments, AdaptedVectorEnv) and not environments.pauses
    ):
        environments = environments.env
    return environments


def can_replay(environments: VectorEnv) -> bool:
    """Return whether each episode has a seed and can be replayed: true of the backends "sync" and "async"."""
    return isinstance(without_own_wrappers(environments), BareSyncVectorEnv | GuardedAsyncVectorEnv)


def replay_episodes(environments: VectorEnv, seeds: list[int], episodes: Sequence[tuple[int, Any]]) -> Any:
    """Replay an episode of every environment.

    Args:
      environments: B environments for which `can_replay` is true.
      seeds: B seeds, one for all episodes of an environment.
      episodes: for each environment the number of the episode and the actions to take in it: an array [L, ...], a nest
        of arrays, or a list.

    Returns:
      The observations after the last actions, as `reset` returns them. An environment whose episode ended with the
      last action begins the next episode at its next step.
    """
    space = environments.action_space
    replay = [
        (number, list(iterate(space, actions)) if isinstance(actions, dict | tuple) and actions else actions)
        for number, actions in episodes
    ]
    # These environments take a list of seeds.
    observations, _ = environments.reset(seed=list(seeds), options={REPLAY: replay})  # type: ignore[arg-type]
    return observations


def can_reset_some(environments: VectorEnv) -> bool:
    """Return whether some environments can be reset while the others continue: Gymnasium's can, EnvPool's cannot."""
    return isinstance(without_own_wrappers(environments), SyncVectorEnv | AsyncVectorEnv)


def _make_by_vector_entry_point(environment: Any, num_envs: int, env_kwargs: Mapping[str, Any]) -> VectorEnv:
    if not isinstance(environment, str) or find_maker(environment) is not None:
        raise ValueError("the backend vector makes environments from ids only")
    module, _, name = environment.rpartition(":")
    if module:
        with importing(f"the module of {environment}"):
            importlib.import_module(module)
    if gym.spec(name).vector_entry_point is None:
        raise ValueError(f"{environment!r} is registered without a vector_entry_point: use another backend")
    with making(environment, env_kwargs):
        return gym.make_vec(environment, num_envs, vectorization_mode="vector_entry_point", **env_kwargs)


def _make_gymnasium(makers: Sequence[Callable[[], gym.Env]], backend: str, timeout: float) -> VectorEnv:
    made: list[gym.Env] = []

    def kept(make: Callable[[], gym.Env]) -> gym.Env:
        made.append(make())
        return made[-1]

    with making(unchanged=ValueError):
        if backend == "async":
            return GuardedAsyncVectorEnv(makers, timeout=timeout)
        try:
            return BareSyncVectorEnv([functools.partial(kept, make) for make in makers])
        except Exception:
            for environment in made:
                close_anyway(environment)
            raise

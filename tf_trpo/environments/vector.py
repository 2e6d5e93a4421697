"""One way from an environment id, a factory or a vector environment to a checked vector environment."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import gymnasium as gym
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers.vector import FlattenObservation

from tf_trpo.environments.episodes import REPLAY, SeededEpisodes
from tf_trpo.environments.failures import EnvironmentFailedError, described
from tf_trpo.environments.processes import GuardedAsyncVectorEnv
from tf_trpo.environments.sync import BareSyncVectorEnv

VectorBackend = Literal["sync", "async", "envpool"]
Environment: TypeAlias = str | Callable[[], gym.Env] | VectorEnv


def make_vector_environment(
    environment: Environment,
    num_envs: int = 1,
    *,
    backend: VectorBackend = "sync",
    env_kwargs: Mapping[str, Any] | None = None,
    timeout: float = 300.0,
) -> VectorEnv:
    """Make, or check, a vector environment that a `LocalSource` can step.

    Observations that are not a Box (Discrete, MultiDiscrete, Dict, Tuple ...) are flattened, Discrete parts one-hot.

    Args:
      environment: a Gymnasium id, a function without arguments that makes one environment, or a vector environment,
        which is used as it is.
      num_envs: copies to step together, >= 1; not used with a vector environment.
      backend: "sync" steps one after the other in this process, without infos (fastest for cheap environments),
        "async" in a process each, "envpool" in EnvPool's C++ threads (an extra; ids only).
      env_kwargs: arguments for the environment; ids only.
      timeout: seconds that a step or a reset of all environments may take, > 0, with the backend "async"; the others
        cannot be interrupted.

    Returns:
      A vector environment with NEXT_STEP autoreset, a Box of observations and a Box or Discrete space of actions.

    Raises:
      ValueError: an autoreset mode or a space that is not supported, or a setting out of range.
      ImportError: EnvPool is asked for and not installed.
      EnvironmentFailedError: an environment cannot be made.
    """
    if num_envs < 1:
        raise ValueError(f"num_envs must be at least 1, got {num_envs}")
    if isinstance(environment, VectorEnv):
        if env_kwargs or backend != "sync":
            raise ValueError("env_kwargs and backend are for making environments; a vector environment is made already")
        return _checked(environment)
    if not isinstance(environment, str) and not callable(environment):
        raise ValueError(
            f"an environment is given by its Gymnasium id, by a function that makes it, or as a vector environment; "
            f"{type(environment).__name__} is none of these"
        )
    if backend == "envpool":
        from tf_trpo.environments.envpool import EnvPoolVectorEnv

        environments: VectorEnv = EnvPoolVectorEnv(environment, num_envs, env_kwargs=env_kwargs)
    else:
        environments = _make_gymnasium(environment, num_envs, backend, env_kwargs, timeout)
    try:
        return _checked(environments)
    except ValueError:
        environments.close()
        raise


@contextmanager
def open_vector_environment(environment: Environment, num_envs: int, **kwargs: Any) -> Iterator[VectorEnv]:
    """Open `make_vector_environment`'s result; close it at the end unless the caller gave a vector environment."""
    environments = make_vector_environment(environment, num_envs, **kwargs)
    try:
        yield environments
    finally:
        if not isinstance(environment, VectorEnv):
            environments.close()


def unflattened(environments: VectorEnv) -> VectorEnv:
    """Give the vector environment below the wrapper that `make_vector_environment` adds."""
    return environments.env if isinstance(environments, FlattenObservation) else environments


def can_replay(environments: VectorEnv) -> bool:
    """Tell whether episodes are seeded each and can be played again: those of the backends "sync" and "async"."""
    return isinstance(unflattened(environments), BareSyncVectorEnv | GuardedAsyncVectorEnv)


def replay_episodes(
    environments: VectorEnv, seeds: list[int], episodes: Sequence[tuple[int, Sequence[Any] | np.ndarray]]
) -> np.ndarray:
    """Play an episode of every environment again.

    Args:
      environments: B environments for which `can_replay`.
      seeds: B seeds, one for all episodes of an environment.
      episodes: for each environment the number of the episode and the actions [L, ...] to take in it.

    Returns:
      The observations [B, ...] after the last actions. An environment whose episode ended with the last action begins
      the next episode at its next step.
    """
    # Every vector environment takes a list of seeds.
    observations, _ = environments.reset(seed=list(seeds), options={REPLAY: list(episodes)})  # type: ignore[arg-type]
    return np.asarray(observations)


def replay_endings(environments: VectorEnv) -> tuple[bool | None, ...]:
    """Give each environment's `SeededEpisodes.replay_ended` of the last replay."""
    vector = unflattened(environments)
    assert isinstance(vector, SyncVectorEnv | AsyncVectorEnv)
    return vector.get_attr("replay_ended")


def can_reset_some(environments: VectorEnv) -> bool:
    """Tell whether some environments can be reset while the others continue: Gymnasium's can, EnvPool's cannot."""
    return isinstance(unflattened(environments), SyncVectorEnv | AsyncVectorEnv)


def _checked(environments: VectorEnv) -> VectorEnv:
    mode = environments.metadata.get("autoreset_mode")
    if mode != AutoresetMode.NEXT_STEP:
        raise ValueError(
            f"the vector environment resets in mode {mode}, and only NEXT_STEP is supported: there, the observation at "
            "an episode's end is the true final one, whose value bootstraps a truncated episode. Make it with "
            "autoreset_mode=gymnasium.vector.AutoresetMode.NEXT_STEP."
        )
    _check_spaces(environments)
    if not isinstance(environments.single_observation_space, gym.spaces.Box):
        return FlattenObservation(environments)
    return environments


def _make_gymnasium(
    environment: str | Callable[[], gym.Env],
    num_envs: int,
    backend: str,
    env_kwargs: Mapping[str, Any] | None,
    timeout: float,
) -> VectorEnv:
    if isinstance(environment, str):
        environment = functools.partial(gym.make, environment, **(env_kwargs or {}))
    elif env_kwargs:
        raise ValueError("env_kwargs go with an environment id; a factory already knows its arguments")
    in_processes = functools.partial(GuardedAsyncVectorEnv, timeout=timeout)
    kinds: dict[str, Callable[..., VectorEnv]] = {"sync": BareSyncVectorEnv, "async": in_processes}
    if backend not in kinds:
        raise ValueError(f'the vector backend must be "sync", "async" or "envpool", got {backend!r}')
    makers = [lambda index=index: SeededEpisodes(environment(), index) for index in range(num_envs)]
    # Each observation is copied into the rollout, so the vector environment need not copy it.
    try:
        return kinds[backend](makers, copy=False, autoreset_mode=AutoresetMode.NEXT_STEP)
    except (ValueError, ImportError, gym.error.Error, EnvironmentFailedError):
        raise
    except (Exception, SystemExit) as error:
        raise EnvironmentFailedError(f"the environment cannot be made: {described(error)}") from error


def _check_spaces(environments: VectorEnv) -> None:
    observations, actions = environments.single_observation_space, environments.single_action_space
    if not observations.is_np_flattenable:
        raise ValueError(
            f"the observation space {observations} is not supported, since it has no fixed size: only Box, Discrete, "
            "MultiDiscrete, MultiBinary, and Dict and Tuple of these are"
        )
    if not isinstance(actions, gym.spaces.Box | gym.spaces.Discrete):
        raise ValueError(f"the action space {actions} is not supported: only Box and Discrete are")
    if isinstance(actions, gym.spaces.Box) and not np.issubdtype(actions.dtype, np.floating):
        raise ValueError(f"the action space {actions} is not supported: a Box of actions must hold floats")

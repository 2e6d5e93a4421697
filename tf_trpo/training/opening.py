"""Opening of environments and rollout sources for a fit."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv

from tf_trpo.environments import can_reset_some, known_mirror, open_vector_environment
from tf_trpo.environments.costs import Cost, cost_labels, find_costs
from tf_trpo.environments.in_use import alone
from tf_trpo.environments.infos import kept_costs
from tf_trpo.environments.running_statistics import ADVICE, running_statistics
from tf_trpo.environments.vector import Environment, refuse_making
from tf_trpo.models import MirrorSymmetry, Policy
from tf_trpo.models.making import check_fit
from tf_trpo.rollouts import LocalSource, RolloutSource, Spread, make_actor
from tf_trpo.rollouts.actor import acts_on_device
from tf_trpo.rollouts.branches import check_branching
from tf_trpo.rollouts.vine import Vine
from tf_trpo.spaces import observation_spec
from tf_trpo.workers import RaySource
from tf_trpo.workers.ray_source import INEXACT
from tf_trpo.workers.worker import make_setup

_logger = logging.getLogger(__name__)
_FITS = "a fit of this agent has not ended: a callback that fits needs another agent"


def spaces_of(environment: Environment, **making: Any) -> tuple[gym.Space, gym.Space]:
    """Return the observation space and the action space of an environment; see `open_vector_environment`."""
    with open_vector_environment(environment, 1, **making) as environments:
        return environments.single_observation_space, environments.single_action_space


def known_mirror_of(environment: Environment) -> MirrorSymmetry:
    """Return the known reflection of an environment; raise ValueError if none is known."""
    if not isinstance(environment, str):
        raise ValueError("mirror: known of Gymnasium ids only; give a MirrorSymmetry with other environments")
    return known_mirror(environment)


@contextlib.contextmanager
def opened_source(
    policy: Policy,
    environment: Environment | RolloutSource,
    opening: Mapping[str, Any],
    spread: Spread,
    seed: int,
    restart_every: int,
    prepare: Callable[[int], None],
    vine: Vine | None = None,
    began_at: int = 0,
) -> Iterator[RolloutSource]:
    """Open the source of a fit's rollouts; close it at the end unless it is the caller's own.

    Args:
      policy: the policy that acts.
      environment: as for `TRPO.fit`.
      opening: arguments of `make_vector_environment`.
      spread: division into shards and workers.
      seed, restart_every: as for `TRPO.fit`.
      prepare: called with the number of environments before the actor is made.
      vine: numbers of branches, for rollouts with branches.
      began_at: the agent's iterations, by which the fit has other episodes than earlier fits.

    Yields:
      The given source, or a new one of the environment.

    Raises:
      ValueError: the environment does not fit the policy or the costs, a source lacks a method, an argument has no
        effect, or there are branches and the environments cannot be restored to an earlier state.
      ImportError: workers are asked for, and Ray is not installed.
    """
    if vine is not None and (spread.workers or isinstance(environment, RolloutSource)):
        given = "workers" if spread.workers else "a source of rollouts"
        raise ValueError(f"vine_states must be 0 with {given}: branches go out from environments of this process")
    if vine is not None and isinstance(environment, VectorEnv):
        raise ValueError(
            "vine_states must be 0 with a vector environment that is made already: give the Gymnasium id, or a "
            "function that makes an environment"
        )
    _check_source(environment)
    if isinstance(environment, RolloutSource):
        if spread != Spread():
            raise ValueError("shards and workers would have no effect: the source has its own")
        making = {name: value for name, value in opening.items() if name != "costs"}
        refuse_making(making, "source", num_envs=environment.num_envs)
        if isinstance(environment, LocalSource):
            check_fit(policy, environment.environments)
            _check_costs(environment.environments, opening["costs"])
            _check_restarts(environment.environments, restart_every, "these environments")
        with alone([policy], _FITS):
            prepare(environment.num_envs)
            # This fit does not know the returns of earlier steps, and memories may be of another policy.
            if isinstance(environment, LocalSource | RaySource):
                episodes = environment.episodes
                if episodes.were_played or episodes.failed:
                    environment.restart()
            yield environment
        return
    if spread.workers:
        opened = _opened_workers(policy, environment, opening, spread, seed, prepare, began_at)
        with alone([policy], _FITS), opened as source:
            yield source
        return
    with alone([policy], _FITS), open_vector_environment(environment, **opening) as environments:
        _check(policy, environments)
        _check_costs(environments, opening["costs"])
        num_envs = environments.num_envs
        shards = spread.shards_of(num_envs)
        given = type(environment).__name__ if isinstance(environment, VectorEnv) else opening["backend"]
        _check_restarts(environments, restart_every, given)
        if vine is not None:
            check_branching(environments)
        prepare(num_envs)
        actor = make_actor(policy, num_envs, shards=shards)
        yield LocalSource(environments, actor, seed=seed, vine=vine, began_at=began_at)


def _check_restarts(environments: VectorEnv, restart_every: int, given: str) -> None:
    if restart_every and not can_reset_some(environments):
        raise ValueError(
            f"restart_every needs environments that can be reset one by one (backend sync or async), not {given}"
        )


def _check_source(environment: Any) -> None:
    """Raise ValueError with the names of the missing members if a source of rollouts lacks some."""
    names = [name for name in (*RolloutSource.__annotations__, *vars(RolloutSource)) if not name.startswith("_")]
    missing = [name for name in names if not hasattr(environment, name)]
    if missing and hasattr(environment, "collect") and not callable(environment):
        raise ValueError(f"{type(environment).__name__} is no source of rollouts: it lacks {', '.join(missing)}")


def _check(policy: Policy, environments: VectorEnv) -> None:
    """Raise ValueError unless environments fit a policy; warn of wrappers with running statistics."""
    check_fit(policy, environments)
    statistics = running_statistics(environments)
    if statistics is not None:
        _logger.warning("the environment: %s What to do: %s", statistics, ADVICE)


def _check_costs(environments: VectorEnv, costs: Sequence[Cost]) -> None:
    """Raise ValueError unless environments keep the agent's costs."""
    own, kept = (", ".join(labels) or "none" for labels in (cost_labels(costs), kept_costs(environments)))
    if own != kept:
        raise ValueError(f"the costs of the agent are {own}, those of the environments are {kept}")


@contextlib.contextmanager
def _opened_workers(
    policy: Policy,
    environment: Environment,
    opening: Mapping[str, Any],
    spread: Spread,
    seed: int,
    prepare: Callable[[int], None],
    began_at: int,
) -> Iterator[RolloutSource]:
    if isinstance(environment, VectorEnv):
        raise ValueError(
            "a vector environment that is made already cannot be stepped by workers, which make their own: give the "
            "Gymnasium id, or a function that makes an environment"
        )
    if opening["backend"] != "sync":
        raise ValueError(f"each worker steps its environments by the backend sync, not {opening['backend']}")
    from tf_trpo.workers.ray_crew import RayCrew, import_ray

    import_ray()
    num_envs = opening["num_envs"]
    shards = spread.shards_of(num_envs)
    # A worker has not imported the modules of costs that are given by name.
    costs = find_costs(opening.get("costs", ()))
    making = {**{name: value for name, value in opening.items() if name != "num_envs"}, "costs": costs}
    with open_vector_environment(environment, 1, **making) as one:
        _check(policy, one)
        spec = observation_spec(one.single_observation_space)
    prepare(num_envs)
    if acts_on_device(policy, shards):
        _logger.warning("the worker acts on its CPU, and one process would act on the GPU (see shards), %s", INEXACT)
    setup = make_setup(policy, environment, making, num_envs=num_envs // shards, seed=seed, began_at=began_at)
    crew = RayCrew(setup, spread.workers, spread.address)
    with contextlib.closing(RaySource(setup, spec, crew, shards, allow_different=spread.allow_different)) as source:
        yield source

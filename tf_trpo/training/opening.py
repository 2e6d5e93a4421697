"""From an environment, or a source, to the source that a fit has rollouts of."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tf_trpo.environments import can_reset_some, open_vector_environment
from tf_trpo.environments.vector import Environment
from tf_trpo.models import Policy
from tf_trpo.models.making import check_fit
from tf_trpo.rollouts import LocalSource, RolloutSource, make_actor


@contextlib.contextmanager
def opened_source(
    policy: Policy,
    environment: Environment | RolloutSource,
    opening: Mapping[str, Any],
    seed: int,
    restart_every: int,
    prepare: Callable[[int], None],
) -> Iterator[RolloutSource]:
    """Give the source itself, or one of the environment; close it at the end unless it is the caller's own.

    Args:
      policy: acts.
      environment: as for `TRPO.fit`.
      opening: arguments of `make_vector_environment`.
      seed, restart_every: as for `TRPO.fit`.
      prepare: told the number of environments before the policy is made ready to act.

    Raises:
      ValueError: the environment does not fit the policy, or an argument has no use.
    """
    if isinstance(environment, RolloutSource):
        made = opening["env_kwargs"] or opening["wrappers"] or opening["action_masks"] != "auto"
        if made or opening["backend"] != "sync" or opening["num_envs"] != 1:
            raise ValueError("num_envs, backend, env_kwargs and the like make environments; a source has its own")
        prepare(environment.num_envs)
        yield environment
        return
    with open_vector_environment(environment, **opening) as environments:
        check_fit(policy, environments)
        if restart_every and not can_reset_some(environments):
            kind = type(environments).__name__
            raise ValueError(
                f"restart_every needs environments that can be reset one by one (backend sync or async), not {kind}"
            )
        prepare(environments.num_envs)
        yield LocalSource(environments, make_actor(policy, environments.num_envs), seed=seed)

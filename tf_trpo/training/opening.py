"""What a fit begins with: the source of its rollouts, and the callbacks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
from gymnasium.vector import VectorEnv

from tf_trpo.callbacks import Progress
from tf_trpo.callbacks.best_model import if_figure_exists
from tf_trpo.environments import can_reset_some, open_vector_environment
from tf_trpo.environments.in_use import alone
from tf_trpo.environments.vector import Environment, refuse_making
from tf_trpo.models import Policy
from tf_trpo.models.making import check_fit
from tf_trpo.rollouts import LocalSource, RolloutSource, make_actor
from tf_trpo.training.trainer import Trainer

_FITS = "a fit of this agent has not ended: a callback that fits needs another agent"


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
        refuse_making(opening, "source", num_envs=environment.num_envs)
        if isinstance(environment, LocalSource):
            check_fit(policy, environment.environments)
        with alone([policy], _FITS):
            prepare(environment.num_envs)
            yield environment
        return
    with alone([policy], _FITS), open_vector_environment(environment, **opening) as environments:
        check_fit(policy, environments)
        if restart_every and not can_reset_some(environments):
            given = type(environment).__name__ if isinstance(environment, VectorEnv) else opening["backend"]
            raise ValueError(
                f"restart_every needs environments that can be reset one by one (backend sync or async), not {given}"
            )
        prepare(environments.num_envs)
        yield LocalSource(environments, make_actor(policy, environments.num_envs), seed=seed)


def callback_list(
    agent: keras.Model,
    callbacks: Sequence[keras.callbacks.Callback] | keras.callbacks.Callback,
    trainer: Trainer,
    total_steps: int,
    verbose: int,
) -> keras.callbacks.CallbackList:
    """Make Keras' list of the callbacks that a fit of so many steps tells what it does."""
    given = [callbacks] if isinstance(callbacks, keras.callbacks.Callback) else list(callbacks)
    goal, epochs = trainer.goal(total_steps)
    return keras.callbacks.CallbackList(
        [*map(if_figure_exists, given), *([Progress()] if verbose else [])],
        add_history=True,
        model=agent,
        verbose=verbose,
        epochs=epochs,
        steps=1,
        total_steps=goal,
        trainer=trainer,
    )

"""From an experiment to its agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras

from tf_trpo.experiment.threads import use_threads
from tf_trpo.training import TRPO

if TYPE_CHECKING:
    from tf_trpo.experiment.experiment import Experiment


def make_agent(experiment: Experiment) -> TRPO:
    """Make the agent of an experiment; see `Experiment.make_agent`."""
    use_threads(experiment.run.threads)
    try:
        keras.activations.get(experiment.policy.activation)
    except ValueError:
        raise ValueError(f"activation: Keras has none named {experiment.policy.activation!r}") from None
    keras.utils.set_random_seed(experiment.run.seed)
    agent = TRPO.for_env(
        experiment.env,
        policy=experiment.policy,
        value=experiment.value,
        seed=experiment.run.seed,
        **experiment.environment.arguments(),
    )
    agent.compile(experiment.algorithm, update=experiment.update, jit_compile=experiment.run.jit_compile)
    return agent

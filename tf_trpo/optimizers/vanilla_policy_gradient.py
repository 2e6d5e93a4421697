"""The vanilla policy gradient: a step along the gradient itself, by a Keras optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tf_trpo.models import Policy
from tf_trpo.numerics import LineSearchResult, LineSearchStatus, unflatten
from tf_trpo.optimizers.objective import Objective
from tf_trpo.optimizers.policy_optimizer import PolicyOptimizer, Proposal, without_line_search


@keras.saving.register_keras_serializable(package="tf_trpo")
class VanillaPolicyGradient(PolicyOptimizer):
    """theta <- theta + alpha g, one step for each batch.

    At the policy that sampled, the gradient g of the surrogate is the policy gradient. The step is as
    long as the learning rate says in the space of parameters, whatever it does to the policy: its KL
    is reported and limits nothing. A gradient that is not finite is left out, and a step that makes
    the policy's figures, or the optimizer's own state, not finite is taken back with what it did to that.

    Args:
      optimizer: any Keras optimizer, or its name; by default Adam with learning rate 0.01. With SGD, alpha
        is its learning rate to the letter. It minimises, so it is given -g.

    Source:
      Williams (1992); lecture, Algorithm 1, line 7, and "Primer: Natural Policy Gradient".
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer | str | None = None) -> None:
        self.optimizer = keras.optimizers.get(optimizer or keras.optimizers.Adam(0.01))

    def make_state(self, policy: Policy) -> None:
        self.optimizer.build(policy.trainable_variables)

    @property
    def variables(self) -> list[Any]:
        return self.optimizer.variables

    def propose(self, objective: Objective) -> Proposal:
        gradient = objective.gradient()
        search = climb(objective, self.optimizer, lambda: ascend(self.optimizer, objective.policy, gradient))
        return Proposal(gradient, search)

    def get_config(self) -> dict[str, Any]:
        return {"optimizer": keras.saving.serialize_keras_object(self.optimizer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> VanillaPolicyGradient:
        return cls(keras.saving.deserialize_keras_object(config["optimizer"]))


def climb(objective: Objective, optimizer: keras.optimizers.Optimizer, move: Callable[[], None]) -> LineSearchResult:
    """Let a built Keras optimizer move the policy's weights, and judge where they are then.

    Args:
      objective: at the old parameters.
      optimizer: put back to where it was if the policy's figures or its own state are not finite then.
      move: moves the weights.

    Returns:
      As `without_line_search`.
    """
    before = [tf.identity(variable.value) for variable in optimizer.variables]
    move()
    floats = [v.value for v in optimizer.variables if tf.as_dtype(v.dtype).is_floating]
    sound = tf.reduce_all([tf.reduce_all(tf.math.is_finite(value)) for value in floats])
    candidate = objective.policy.flat_weights
    search = without_line_search(objective, tf.where(sound, candidate, tf.constant(math.nan, candidate.dtype)))
    broken = tf.equal(search.status, int(LineSearchStatus.NOT_FINITE))
    for variable, value in zip(optimizer.variables, before, strict=True):
        variable.assign(tf.where(broken, value, variable.value))
    return search


def ascend(optimizer: keras.optimizers.Optimizer, policy: Policy, gradient: tf.Tensor) -> None:
    """One step of a built Keras optimizer up the gradient [P]; none if the gradient is not finite."""
    variables = policy.trainable_variables

    def apply() -> tf.Tensor:
        optimizer.apply(unflatten(-gradient, variables), variables)
        return tf.constant(True)

    # One infinite gradient would stay in the moments of Adam for good.
    tf.cond(tf.reduce_all(tf.math.is_finite(gradient)), apply, lambda: tf.constant(False))

"""The vanilla policy gradient: a step along the gradient itself, by a Keras optimizer."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tf_trpo.models import Policy
from tf_trpo.numerics import unflatten
from tf_trpo.optimizers.objective import Objective
from tf_trpo.optimizers.policy_optimizer import PolicyOptimizer, Proposal, without_line_search


@keras.saving.register_keras_serializable(package="tf_trpo")
class VanillaPolicyGradient(PolicyOptimizer):
    """theta <- theta + alpha g, one step for each batch.

    At the policy that sampled, the gradient g of the surrogate is the policy gradient. The step is as
    long as the learning rate says in the space of parameters, whatever it does to the policy: its KL
    is reported and limits nothing. A gradient that is not finite is left out, and a step that makes
    the policy's figures not finite is taken back, though not what it did to the optimizer's moments.

    Args:
      optimizer: any Keras optimizer, or its name; by default SGD with learning rate 0.01, which makes
        alpha just that. It minimises, so it is given -g.

    Source:
      Williams (1992); lecture, Algorithm 1, line 7, and "Primer: Natural Policy Gradient".
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer | str | None = None) -> None:
        self.optimizer = keras.optimizers.get(optimizer or keras.optimizers.SGD(0.01))

    def build(self, policy: Policy) -> None:
        self.optimizer.build(policy.trainable_variables)

    @property
    def variables(self) -> list[Any]:
        return self.optimizer.variables

    def propose(self, objective: Objective) -> Proposal:
        gradient = objective.gradient()
        ascend(self.optimizer, objective.policy, gradient)
        return Proposal(gradient, without_line_search(objective, objective.policy.flat_weights))

    def get_config(self) -> dict[str, Any]:
        return {"optimizer": keras.saving.serialize_keras_object(self.optimizer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> VanillaPolicyGradient:
        return cls(keras.saving.deserialize_keras_object(config["optimizer"]))


def ascend(optimizer: keras.optimizers.Optimizer, policy: Policy, gradient: tf.Tensor) -> None:
    """One step of a built Keras optimizer up the gradient [P]; none if the gradient is not finite."""
    variables = policy.trainable_variables

    def apply() -> tf.Tensor:
        optimizer.apply(unflatten(-gradient, variables), variables)
        return tf.constant(True)

    # One infinite gradient would stay in the moments of Adam for good.
    tf.cond(tf.reduce_all(tf.math.is_finite(gradient)), apply, lambda: tf.constant(False))

"""The vanilla policy gradient: a step along the gradient itself, with a Keras optimizer."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.optimizers.first_order import ascend, climb
from tf_trpo.optimizers.objective import Objective
from tf_trpo.optimizers.policy_optimizer import PolicyOptimizer, Proposal, State
from tf_trpo.ranges import require_allowed

if TYPE_CHECKING:
    from tf_trpo.models import Policy

VanillaOptimizer = Literal["adam", "sgd"]


@dataclasses.dataclass(frozen=True)
class VanillaPolicyGradient(PolicyOptimizer):
    """Take one step theta + alpha g for each batch.

    At the policy that sampled, the gradient g of the surrogate is the policy gradient. The learning rate sets the
    length of the step in parameter space, whatever its effect on the policy: the KL is reported but not limited. A
    gradient that is not finite is skipped. If a step makes the policy's figures or the Keras optimizer's state not
    finite, the weights and that state are restored.

    Raises:
      ValueError: a setting is outside its range.

    Source:
      Williams (1992); lecture, Algorithm 1, line 7, and "Primer: Natural Policy Gradient".
    """

    vanilla_optimizer: VanillaOptimizer = "adam"
    """Keras optimizer that takes the step along the gradient; with sgd, alpha is exactly the learning rate."""
    vanilla_learning_rate: float = 0.01
    """Learning rate of the Keras optimizer, positive and finite."""

    def __post_init__(self) -> None:
        require_allowed(self, vanilla_learning_rate="(0, inf)")

    def make_state(self, policy: Policy) -> State:
        import keras

        kinds = {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}
        optimizer = kinds[self.vanilla_optimizer](self.vanilla_learning_rate)
        optimizer.build(policy.trainable_variables)
        return State(optimizer=optimizer)

    def propose(self, objective: Objective, state: State, progress: float | tf.Tensor) -> Proposal:
        gradient = objective.gradient()
        # Keras optimizers minimise, so `ascend` gives them -g.
        search = climb(objective, state.optimizer, lambda: ascend(state.optimizer, objective.policy, gradient))
        return Proposal(gradient, search)

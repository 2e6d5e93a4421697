"""Proximal Policy Optimization with the clipped surrogate."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from tf_trpo.estimation import clipped_surrogate_improvement
from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics.schedules import linear
from tf_trpo.optimizers.entropy_bonus import EntropyBonus
from tf_trpo.optimizers.first_order import climb_in_minibatches
from tf_trpo.optimizers.objective import Objective, Samples
from tf_trpo.optimizers.policy_optimizer import PolicyOptimizer, Proposal, State
from tf_trpo.ranges import require_allowed

if TYPE_CHECKING:
    from tf_trpo.models import Policy


@dataclasses.dataclass(frozen=True)
class ClippedSurrogate(PolicyOptimizer):
    """Maximise the clipped surrogate with Adam, in several passes of minibatches over each batch.

    A sample has no gradient once its probability ratio has moved out of [1 - clip_range, 1 + clip_range] in the
    direction that its advantage favours. The KL is reported but not limited; with ppo_target_kl it stops the passes
    early. As with every algorithm, the value function is fitted separately. A gradient that is not finite is skipped.
    If the policy's figures or Adam's state are not finite after the steps, the weights and Adam's state are restored.

    Raises:
      ValueError: a setting is outside its range.

    Source:
      Schulman et al. (2017), "Proximal Policy Optimization Algorithms", equation 7 and algorithm 1; Adam's epsilon and
      the limit on the gradient are those of its authors' program (Huang et al., 2022, "The 37 Implementation Details
      of Proximal Policy Optimization").
    """

    clip_range: float = 0.2
    """Epsilon: the clipped probability ratio lies in [1 - clip_range, 1 + clip_range]; positive and finite."""
    ppo_epochs: int = 10
    """Passes over the batch, in [1, 10000]."""
    ppo_minibatch_size: int = 64
    """Samples per minibatch, at least 1."""
    ppo_learning_rate: float = 3e-4
    """Learning rate of Adam, positive and finite."""
    ppo_final_learning_rate: float | None = None
    """Learning rate at the end of the run, zero or positive, reached linearly; None to keep ppo_learning_rate."""
    ppo_target_kl: float | None = None
    """Stop before the next pass if the mean joint KL, in nats, is above this; positive and finite. None: never stop."""
    max_gradient_norm: float = 0.5
    """Largest norm of a minibatch's gradient, to which longer ones are scaled down; positive and finite."""
    entropy: EntropyBonus = EntropyBonus()
    """Bonus for the policy's entropy."""

    def __post_init__(self) -> None:
        require_allowed(self, clip_range="(0, inf)", ppo_epochs="[1, 10000]", ppo_minibatch_size="[1, inf)")
        require_allowed(self, ppo_learning_rate="(0, inf)", ppo_final_learning_rate="[0, inf)")
        require_allowed(self, ppo_target_kl="(0, inf)", max_gradient_norm="(0, inf)")

    @property
    def is_scheduled(self) -> bool:
        return self.ppo_final_learning_rate is not None

    def make_state(self, policy: Policy) -> State:
        import keras

        self.entropy.check(policy)
        optimizer = keras.optimizers.Adam(self.ppo_learning_rate, epsilon=1e-5)
        optimizer.build(policy.trainable_variables)
        return State(optimizer=optimizer)

    def propose(self, objective: Objective, state: State, progress: float | tf.Tensor) -> Proposal:
        def clipped(new: tf.Tensor, samples: Samples) -> tf.Tensor:
            value = clipped_surrogate_improvement(
                *objective.log_probs(new, samples), samples.advantages, samples.weights, clip_range=self.clip_range
            )
            return value + self.entropy.weighted(objective)(new, samples) if self.entropy.counts else value

        if self.ppo_final_learning_rate is not None:
            rate = linear(self.ppo_learning_rate, self.ppo_final_learning_rate, progress)
            state.optimizer.learning_rate.assign(tf.cast(rate, state.optimizer.learning_rate.dtype))
        gradient = objective.gradient()
        search = climb_in_minibatches(
            objective,
            state.optimizer,
            gradient,
            clipped,
            epochs=self.ppo_epochs,
            minibatch_size=self.ppo_minibatch_size,
            max_gradient_norm=self.max_gradient_norm,
            target_kl=self.ppo_target_kl,
        )
        return Proposal(gradient, search)

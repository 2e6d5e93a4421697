"""The entropy bonus: the policy's mean entropy, added to the surrogate with a weight."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import is_positive, scalar
from tf_trpo.optimizers.objective import AddedTerm, Objective, PolicyFigures, WeightedEntropy
from tf_trpo.ranges import require, require_allowed

if TYPE_CHECKING:
    from tf_trpo.models import Policy


@dataclasses.dataclass(frozen=True)
class EntropyBonus:
    """Bonus for entropy: maximise L(new) - L(old) + entropy_coefficient (H(new) - H(old)).

    H is the mean entropy over the samples, in nats.

    Raises:
      ValueError: a setting is outside its range.

    Source:
      Williams and Peng (1991), "Function Optimization Using Connectionist Reinforcement Learning Algorithms"; Schulman
      et al. (2017), equation 9.
    """

    entropy_coefficient: float = 0.0
    """Weight of the entropy, in surrogate units per nat, zero or positive; 0: no bonus. With normalised advantages, a
    weight means the same in every environment."""

    def __post_init__(self) -> None:
        require_allowed(self, entropy_coefficient="[0, inf)")

    @property
    def counts(self) -> bool:
        """Whether the bonus has a weight above 0."""
        return is_positive(self.entropy_coefficient)

    def check(self, policy: Policy) -> None:
        """Raise ValueError if the bonus has a weight and the policy's entropy has no closed form."""
        if self.counts:
            distribution = policy.action_distribution
            requirement = f"0 with {type(distribution).__name__}, which has no closed form of its entropy"
            require(distribution.has_entropy, "entropy_coefficient", requirement, self.entropy_coefficient)

    def weighted(self, objective: Objective) -> WeightedEntropy:
        """Return entropy_coefficient H as a function of distribution parameters and samples."""
        return WeightedEntropy(objective.entropy, scalar(self.entropy_coefficient, tf.float64))

    def rising(self, objective: Objective) -> AddedTerm:
        """Return the bonus as a term of the objective: entropy_coefficient (H - H(old))."""

        def gain(theta: tf.Tensor, figures: PolicyFigures) -> tf.Tensor:
            rise = tf.subtract(figures.entropy, objective.old.figures.entropy)
            return scalar(self.entropy_coefficient, tf.float64) * rise

        return AddedTerm(objective.gradient(self.weighted(objective)), gain)

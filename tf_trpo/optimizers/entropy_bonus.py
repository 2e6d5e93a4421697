"""The entropy bonus: a share of the policy's entropy that the objective has besides the surrogate."""

from __future__ import annotations

import dataclasses
import functools
import numbers
from typing import TYPE_CHECKING, Any

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import scalar
from tf_trpo.optimizers.objective import Objective, PolicyFigures, Samples
from tf_trpo.ranges import require, require_allowed

if TYPE_CHECKING:
    from tf_trpo.models import Policy


@dataclasses.dataclass(frozen=True)
class EntropyBonus:
    """Climb L(new) - L(old) + entropy_coefficient (H(new) - H(old)), H being the mean entropy over the samples.

    Raises:
      ValueError: a setting is outside its range.

    Source:
      Williams and Peng (1991), "Function Optimization Using Connectionist Reinforcement Learning Algorithms"; Schulman
      et al. (2017), equation 9.
    """

    entropy_coefficient: float = 0.0
    """What a nat of entropy counts against the surrogate, zero or positive; 0 for no bonus. Normalised advantages make
    it mean the same in every environment."""

    def __post_init__(self) -> None:
        require_allowed(self, entropy_coefficient="[0, inf)")

    @property
    def counts(self) -> bool:
        """Whether there is a bonus."""
        coefficient: Any = self.entropy_coefficient
        # In a compiled update, it may be a tensor, but 0 stays a number.
        return not isinstance(coefficient, numbers.Real) or float(coefficient) > 0

    def check(self, policy: Policy) -> None:
        """Raise ValueError if there is a bonus and the policy has no closed form of its entropy."""
        if self.counts:
            distribution = policy.action_distribution
            entropy = distribution.entropy(distribution.parameters(tf.zeros([1, distribution.num_outputs])))
            requirement = f"0 with {type(distribution).__name__}, which has no closed form of its entropy"
            require(entropy is not None, "entropy_coefficient", requirement, self.entropy_coefficient)

    def value(self, objective: Objective, new: tf.Tensor, samples: Samples) -> tf.Tensor:
        """Compute entropy_coefficient H of distribution parameters on samples, float64 scalar."""
        return scalar(self.entropy_coefficient, tf.float64) * objective.entropy(new, samples.weights)

    def gradient(self, objective: Objective) -> tf.Tensor:
        """Compute the gradient [P] of the bonus at the old parameters."""
        return objective.gradient(functools.partial(self.value, objective))

    def gain(self, objective: Objective, figures: PolicyFigures) -> tf.Tensor:
        """Compute entropy_coefficient (H - H(old)) of a policy with these figures, float64 scalar."""
        return scalar(self.entropy_coefficient, tf.float64) * tf.subtract(
            figures.entropy, objective.old.figures.entropy
        )

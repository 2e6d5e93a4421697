"""The natural policy gradient: a step along F^-1 g, without line search."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Self

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import scalar, step_length_for_kl
from tf_trpo.optimizers.natural_direction import NaturalDirection
from tf_trpo.optimizers.objective import Objective
from tf_trpo.optimizers.policy_optimizer import PolicyOptimizer, Proposal, State, default_kl, without_line_search
from tf_trpo.ranges import require_allowed

if TYPE_CHECKING:
    from tf_trpo.distributions.action_distribution import ActionDistribution


@dataclasses.dataclass(frozen=True)
class NaturalPolicyGradient(PolicyOptimizer):
    """Take one step theta + alpha x for each batch, x ~ (F + damping I)^-1 g by conjugate gradient.

    The direction is the same as that of `TrustRegion`. The factor alpha is fixed, or chosen so that the quadratic model
    of the KL, 1/2 alpha^2 x'Fx, equals natural_max_kl (the truncated natural policy gradient). Without a line search,
    the KL of the step may be above natural_max_kl, and the surrogate may fall. A step is refused if it makes the
    policy's figures not finite.

    Raises:
      ValueError: a setting is outside its range.

    Source:
      Kakade (2001); Peters and Schaal (2008); truncated: Duan et al. (2016), section 3; lecture,
      "Primer: Natural Policy Gradient".
    """

    natural_learning_rate: float | None = None
    """Fixed factor alpha on the natural direction, positive and finite. None: computed from natural_max_kl."""
    natural_max_kl: float | None = None
    """Mean joint KL of a step by the quadratic model, in nats, positive and finite. None: 0.01 for each action
    dimension."""
    direction: NaturalDirection = NaturalDirection()
    """How the natural direction is computed."""

    def __post_init__(self) -> None:
        require_allowed(self, natural_learning_rate="(0, inf)", natural_max_kl="(0, inf)")

    def settled(self, distribution: ActionDistribution) -> Self:
        given = self.natural_max_kl is not None
        return self if given else dataclasses.replace(self, natural_max_kl=default_kl(distribution))

    def propose(self, objective: Objective, state: State, progress: float | tf.Tensor) -> Proposal:
        gradient = objective.gradient()
        found = self.direction.solve(objective, gradient)
        length = self.natural_learning_rate
        if length is None:
            assert self.natural_max_kl is not None
            damping = self.direction.cg_damping
            length = step_length_for_kl(found.solution, found.image, self.natural_max_kl, damping=damping)
        search = without_line_search(objective, objective.theta + scalar(length, found.solution.dtype) * found.solution)
        return Proposal(gradient, search, found)

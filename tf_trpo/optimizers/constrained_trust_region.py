"""Constrained Policy Optimization: a trust-region step within limits on expected costs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import MOST_CONSTRAINTS
from tf_trpo.optimizers.constrained_direction import ConstrainedDirection
from tf_trpo.optimizers.constraints import Constraint, cost_constraints, relative_excess
from tf_trpo.optimizers.objective import Objective
from tf_trpo.optimizers.policy_optimizer import Proposal, State
from tf_trpo.optimizers.trust_region import TrustRegion
from tf_trpo.ranges import require, require_allowed

if TYPE_CHECKING:
    from tf_trpo.models import Policy


_LARGEST_MARGIN = 4.0
"""Largest margin: a limit that is lowered this far is out of reach, so that all steps reduce the cost."""
_FAR = 4.0
"""Share above its limit beyond which a total is far from it."""


@dataclasses.dataclass(frozen=True)
class ConstrainedTrustRegion(TrustRegion):
    """Maximise the surrogate subject to mean KL(old || new) <= max_kl and to limits on expected costs.

    A limit applies to the mean total of a cost in an episode, without discount. The step is the best one within the
    quadratic model of the KL and the linear models of the costs, solved exactly for all costs together. If a cost is
    above its limit, the step reduces it; if the limit is out of reach, reducing the cost is the step's only aim. The
    line search keeps the KL, and each cost by its surrogate, within the limits.

    The surrogate of a cost is an estimate. If it errs in the same direction again and again, the totals stay above the
    limit although each step should bring them below it. So the steps use the limit d_i - m_i |d_i| for cost i, with a
    margin m_i that starts at 0 and follows the measured totals J_i:

        m_i <- clip(m_i + margin_gain clip((J_i - d_i) / |d_i|, -1, 1), 0, 4)

    A margin does not rise while the total is above d_i by more than 4 |d_i|: the way down is long then, and a margin
    that rose on it would still lower the cost long after this is below its limit. A limit of 0 has no margin. The
    limits hold for means: an episode may cost more.

    Raises:
      ValueError: a setting is outside its range, or there are more than 4 limits, anchor_kl among them.

    Source:
      Achiam et al. (2017), Constrained Policy Optimization, algorithm 1; the margins are our own.
    """

    cost_limits: tuple[float, ...] = ()
    """Limit on the mean total of each cost in an episode, in the order of the costs; finite, at least one."""
    margin_gain: float = 0.2
    """Gain of the margins, zero or positive; with 0, the limits are used as they are."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_allowed(self, margin_gain="[0, inf)")
        most = MOST_CONSTRAINTS - (self.anchor_kl is not None)
        fits = len(self.cost_limits) <= most and all(map(math.isfinite, self.cost_limits))
        require(fits, "cost_limits", f"1 to {most} finite numbers", self.cost_limits)

    @property
    def is_constrained(self) -> bool:
        return True

    @property
    def limits_on_costs(self) -> tuple[float, ...]:
        return self.cost_limits

    def make_state(self, policy: Policy) -> State:
        margins = tf.Variable([0.0] * len(self.cost_limits), dtype=tf.float64, trainable=False)
        return dataclasses.replace(super().make_state(policy), adapted=margins)

    def propose(self, objective: Objective, state: State, progress: float | tf.Tensor) -> Proposal:
        excess = relative_excess(objective.batch, self.cost_limits)
        error = tf.where(excess > _FAR, tf.zeros_like(excess), tf.clip_by_value(excess, -1.0, 1.0))
        margins = state.adapted + self.margin_gain * error
        state.adapted.assign(tf.clip_by_value(margins, 0.0, _LARGEST_MARGIN))
        proposal = super().propose(objective, state, progress)
        return proposal._replace(figures={**proposal.figures, "cost_margins": state.adapted.value()})

    def _constraints(self, objective: Objective, state: State) -> list[Constraint]:
        limits = tf.constant(self.cost_limits, tf.float64)
        limits -= state.adapted * tf.abs(limits)
        return [*cost_constraints(objective, tf.unstack(limits)), *super()._constraints(objective, state)]

    def _figures(self, found: ConstrainedDirection, figures: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        pairs = list(zip(figures, found.constraints, strict=True))[: len(self.cost_limits)]
        changes = tf.stack([figure - constraint.now for figure, constraint in pairs])
        return {**super()._figures(found, figures), "cost_changes": changes}

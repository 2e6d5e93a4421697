"""Constrained Policy Optimization: a trust-region step within limits on expected costs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import MOST_CONSTRAINTS
from tf_trpo.optimizers.constraints import ConstrainedDirection, Constraint, cost_constraints
from tf_trpo.optimizers.objective import Objective
from tf_trpo.optimizers.trust_region import TrustRegion
from tf_trpo.ranges import require


def check_number_of_limits(limits: Sequence[float], num_costs: int) -> None:
    """Raise ValueError unless there is a limit for each cost."""
    if len(limits) != num_costs:
        raise ValueError(
            f"cost_limits has {len(limits)} limits, and the agent has {num_costs} costs: give one for each"
        )


@dataclasses.dataclass(frozen=True)
class ConstrainedTrustRegion(TrustRegion):
    """Maximise the surrogate subject to mean KL(old || new) <= max_kl and to limits on expected costs.

    A limit applies to the mean total of a cost in an episode, without discount. The step is the best one within the
    quadratic model of the KL and the linear models of the costs, solved exactly for all costs together. If a cost is
    above its limit, the step reduces it; if the limit is out of reach, reducing the cost is the step's only aim. The
    line search keeps the KL, and each cost by its surrogate, within the limits.

    The limits hold for estimates: an episode may cost more, and so may a policy whose surrogate is within the limit.

    Raises:
      ValueError: a setting is outside its range, or there are more than 4 limits, anchor_kl among them.

    Source:
      Achiam et al. (2017), Constrained Policy Optimization, algorithm 1.
    """

    cost_limits: tuple[float, ...] = (25.0,)
    """Limit on the mean total of each cost in an episode, in the order of the costs; finite."""

    def __post_init__(self) -> None:
        super().__post_init__()
        most = MOST_CONSTRAINTS - (self.anchor_kl is not None)
        fits = 1 <= len(self.cost_limits) <= most and all(map(math.isfinite, self.cost_limits))
        require(fits, "cost_limits", f"1 to {most} finite numbers", self.cost_limits)

    @property
    def is_constrained(self) -> bool:
        return True

    def check_problem(self, num_costs: int, *, anchored: bool) -> None:
        super().check_problem(num_costs, anchored=anchored)
        check_number_of_limits(self.cost_limits, num_costs)

    def _constraints(self, objective: Objective) -> list[Constraint]:
        return [*cost_constraints(objective, self.cost_limits), *super()._constraints(objective)]

    def _figures(self, found: ConstrainedDirection, figures: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        pairs = list(zip(figures, found.constraints, strict=True))[: len(self.cost_limits)]
        changes = tf.stack([figure - constraint.now for figure, constraint in pairs])
        return {**super()._figures(found, figures), "cost_changes": changes}

"""The natural policy gradient: a step along F^-1 g, without line search."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import keras

from tf_trpo.numerics import step_length_for_kl
from tf_trpo.optimizers.natural_direction import NaturalDirection
from tf_trpo.optimizers.objective import FisherVectorProduct, Objective
from tf_trpo.optimizers.policy_optimizer import PolicyOptimizer, Proposal, require, without_line_search


@keras.saving.register_keras_serializable(package="tf_trpo")
class NaturalPolicyGradient(PolicyOptimizer):
    """theta <- theta + alpha x, x ~ (F + damping I)^-1 g by conjugate gradient, one step for each batch.

    The direction is `TrustRegion`'s. Its length is a fixed alpha, or the one at which the quadratic model
    of the KL, 1/2 alpha^2 x'Fx, equals max_kl: the truncated natural policy gradient. Nothing
    is searched: the KL of the step may be above max_kl, and the surrogate may fall. A step that makes
    the policy's figures not finite is refused.

    Args:
      learning_rate: alpha, > 0; None to take it from max_kl.
      max_kl: delta, in nats, > 0; without say where a learning rate is given.
      cg_iterations, cg_damping, cg_tolerance, curvature_fraction, fisher_vector_product: as in
        `NaturalDirection`.

    Raises:
      ValueError: a setting outside its range.

    Source:
      Kakade (2001); Peters and Schaal (2008); truncated: Duan et al. (2016), section 3; lecture,
      "Primer: Natural Policy Gradient".
    """

    def __init__(
        self,
        learning_rate: float | None = None,
        *,
        max_kl: float = 0.01,
        cg_iterations: int = 15,
        cg_damping: float = 0.1,
        cg_tolerance: float = 1e-6,
        curvature_fraction: float = 1.0,
        fisher_vector_product: FisherVectorProduct = "gauss-newton",
    ) -> None:
        usable = learning_rate is None or 0 < learning_rate < math.inf
        require(usable, "learning_rate", "positive and finite, or None", learning_rate)
        require(0 < max_kl < math.inf, "max_kl", "positive and finite", max_kl)
        self.natural_direction = NaturalDirection(
            cg_iterations, cg_damping, cg_tolerance, curvature_fraction, fisher_vector_product
        )
        self.learning_rate = learning_rate
        self.max_kl = max_kl

    def propose(self, objective: Objective) -> Proposal:
        gradient = objective.gradient()
        solution, product = self.natural_direction.solve(objective, gradient)
        direction = solution.solution
        length = self.learning_rate
        if length is None:
            length = step_length_for_kl(direction, product(direction), self.max_kl)
        search = without_line_search(objective, objective.theta + length * direction)
        return Proposal(gradient, search, solution)

    def get_config(self) -> dict[str, Any]:
        return {
            "learning_rate": self.learning_rate,
            "max_kl": self.max_kl,
            **dataclasses.asdict(self.natural_direction),
        }

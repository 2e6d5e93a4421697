"""The natural direction x ~ F^-1 g, and the settings of how it is computed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import ConjugateGradientResult, conjugate_gradient
from tf_trpo.optimizers.objective import FisherVectorProduct, Objective
from tf_trpo.optimizers.preconditioner import sampled_fisher_preconditioner
from tf_trpo.ranges import require, require_allowed

_WIDE = 32_768
"""Weights of a policy from which Fisher-vector products take longer than making a preconditioner."""


@dataclasses.dataclass(frozen=True)
class NaturalDirection:
    """Solve (F + damping I) x = g by conjugate gradient.

    Raises:
      ValueError: a setting is outside its range.

    Source:
      Schulman et al. (2015), appendix C (which takes a tenth of the samples for the curvature); lecture,
      "Conjugate Gradient (CG) computes F^-1 g approximately without forming F explicitly".
    """

    cg_iterations: int | None = None
    """Iterations of conjugate gradient, at most: one Fisher-vector product each; in [1, 10000]. None: 15, or 5 with a
    preconditioner."""
    cg_damping: float = 0.1
    """Number added to the diagonal of the Fisher matrix in the linear system only; zero or positive."""
    cg_tolerance: float = 1e-6
    """Relative residual at which conjugate gradient stops; zero or positive."""
    curvature_fraction: float | None = None
    """Share of the samples for Fisher-vector products, in (0, 1]; gradient and line search use all samples. None: 0.1,
    but at least 64 samples, if observations are or contain images, otherwise 1."""
    fisher_vector_product: FisherVectorProduct = "gauss-newton"
    """How products with the Fisher matrix are computed; double-backprop gives the same result and takes longer."""
    preconditioner_rank: int | None = None
    """Rank of the Fisher matrix of a few states that preconditions conjugate gradient; in [0, 4096], 0 for none. None:
    384 if the policy has at least 32,768 weights, nearly all in Dense layers, and sees no images; otherwise 0."""

    def __post_init__(self) -> None:
        require_allowed(self, cg_iterations="[1, 10000]", cg_damping="[0, inf)", cg_tolerance="[0, inf)")
        require_allowed(self, curvature_fraction="(0, 1]", preconditioner_rank="[0, 4096]")
        damped = _is_positive(self.cg_damping) or not self.preconditioner_rank
        require(damped, "cg_damping", "positive if there is a preconditioner", self.cg_damping)

    def solve(self, objective: Objective, gradient: tf.Tensor) -> ConjugateGradientResult:
        """Solve for the direction.

        Args:
          objective: the KL whose curvature F is.
          gradient: g [P].

        Returns:
          The solution x, with F x without damping, by which a step is measured.
        """
        size = objective.batch.weights.shape[0] or math.inf
        fraction = self.curvature_fraction or (min(1.0, max(0.1, 64 / size)) if objective.sees_images else 1.0)
        preconditioner = self._preconditioner(objective)
        return conjugate_gradient(
            objective.fisher_vector_product(fraction=fraction, kind=self.fisher_vector_product),
            gradient,
            max_iterations=self.cg_iterations or (15 if preconditioner is None else 5),
            damping=self.cg_damping,
            tolerance=self.cg_tolerance,
            preconditioner=preconditioner,
        )

    def _preconditioner(self, objective: Objective) -> Callable[[tf.Tensor], tf.Tensor] | None:
        if self.preconditioner_rank is not None:
            rank, least_share = self.preconditioner_rank, 0.0
        else:
            weights, samples = objective.theta.shape[0], objective.batch.weights.shape[0]
            is_wide = weights >= _WIDE and samples is not None and not objective.sees_images
            # With less than that known of the Fisher matrix, 15 plain iterations are better.
            rank, least_share = 384 if is_wide and _is_positive(self.cg_damping) else 0, 0.9
        return sampled_fisher_preconditioner(objective, rank, self.cg_damping, least_share) if rank else None


def _is_positive(damping: float | tf.Tensor) -> bool:
    # In a compiled update, 0 alone stays Python's number.
    return not isinstance(damping, float | int) or damping > 0

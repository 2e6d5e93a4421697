"""The natural direction x ~ F^-1 g, and the settings of how it is computed."""

from __future__ import annotations

import dataclasses
import math

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import ConjugateGradientResult, conjugate_gradient
from tf_trpo.optimizers.objective import FisherVectorProduct, Objective
from tf_trpo.optimizers.preconditioner import sampled_fisher_preconditioner
from tf_trpo.ranges import require, require_allowed


@dataclasses.dataclass(frozen=True)
class NaturalDirection:
    """Solve (F + damping I) x = g by conjugate gradient.

    Raises:
      ValueError: a setting is outside its range.

    Source:
      Schulman et al. (2015), appendix C (which takes a tenth of the samples for the curvature); lecture,
      "Conjugate Gradient (CG) computes F^-1 g approximately without forming F explicitly".
    """

    cg_iterations: int = 15
    """Iterations of conjugate gradient, at most: one Fisher-vector product each; in [1, 10000]."""
    cg_damping: float = 0.1
    """Number added to the diagonal of the Fisher matrix in the linear system only; zero or positive."""
    cg_tolerance: float = 1e-6
    """Relative residual at which conjugate gradient stops; zero or positive."""
    curvature_fraction: float | None = None
    """Share of the samples for Fisher-vector products, in (0, 1]; gradient and line search use all samples. None: 0.1,
    but at least 64 samples, if observations are or contain images, otherwise 1."""
    fisher_vector_product: FisherVectorProduct = "gauss-newton"
    """How products with the Fisher matrix are computed; double-backprop gives the same result and takes longer."""
    preconditioner_rank: int = 0
    """Rank of the Fisher matrix of a few states that preconditions conjugate gradient; in [0, 4096], 0 for none. Of use
    for wide networks: after the first updates, 5 iterations with 384 are nearer to the solution than 15 without."""

    def __post_init__(self) -> None:
        require_allowed(self, cg_iterations="[1, 10000]", cg_damping="[0, inf)", cg_tolerance="[0, inf)")
        require_allowed(self, curvature_fraction="(0, 1]", preconditioner_rank="[0, 4096]")
        damped = self.cg_damping > 0 or not self.preconditioner_rank
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
        preconditioner = None
        if self.preconditioner_rank:
            preconditioner = sampled_fisher_preconditioner(objective, self.preconditioner_rank, self.cg_damping)
        return conjugate_gradient(
            objective.fisher_vector_product(fraction=fraction, kind=self.fisher_vector_product),
            gradient,
            max_iterations=self.cg_iterations,
            damping=self.cg_damping,
            tolerance=self.cg_tolerance,
            preconditioner=preconditioner,
        )

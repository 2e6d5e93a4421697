"""The natural direction x ~ F^-1 g, and the settings of how it is computed."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from tf_trpo.numerics import ConjugateGradientResult, conjugate_gradient
from tf_trpo.optimizers.objective import FISHER_VECTOR_PRODUCTS, FisherVectorProduct, Objective, Product
from tf_trpo.optimizers.policy_optimizer import require


@dataclasses.dataclass(frozen=True)
class NaturalDirection:
    """x ~ (F + damping I)^-1 g by conjugate gradient.

    Attributes:
      cg_iterations: at most this many Fisher-vector products for the direction, >= 1.
      cg_damping: lambda >= 0, added to F's diagonal in the linear system only.
      cg_tolerance: relative residual at which conjugate gradient stops, >= 0.
      curvature_fraction: share of the samples that the Fisher-vector products are taken on, in (0, 1];
        everything else always uses all of them (appendix C of the paper uses 0.1).
      fisher_vector_product: "gauss-newton", or "double-backprop", its slower twin.

    Raises:
      ValueError: a setting outside its range.

    Source:
      Schulman et al. (2015), appendix C; lecture, "Conjugate Gradient (CG) computes F^-1 g
      approximately without forming F explicitly".
    """

    cg_iterations: int = 15
    cg_damping: float = 0.1
    cg_tolerance: float = 1e-6
    curvature_fraction: float = 1.0
    fisher_vector_product: FisherVectorProduct = "gauss-newton"

    def __post_init__(self) -> None:
        require(self.cg_iterations >= 1, "cg_iterations", "at least 1", self.cg_iterations)
        require(self.cg_damping >= 0, "cg_damping", "zero or positive", self.cg_damping)
        require(self.cg_tolerance >= 0, "cg_tolerance", "zero or positive", self.cg_tolerance)
        require(0 < self.curvature_fraction <= 1, "curvature_fraction", "in (0, 1]", self.curvature_fraction)
        require(
            self.fisher_vector_product in FISHER_VECTOR_PRODUCTS,
            "fisher_vector_product",
            f"one of {list(FISHER_VECTOR_PRODUCTS)}",
            self.fisher_vector_product,
        )

    def solve(self, objective: Objective, gradient: tf.Tensor) -> tuple[ConjugateGradientResult, Product]:
        """Solve for the direction.

        Args:
          objective: the KL whose curvature F is.
          gradient: g [P].

        Returns:
          The solution x, and v -> F v without damping, by which a step is measured.
        """
        product = objective.fisher_vector_product(fraction=self.curvature_fraction, kind=self.fisher_vector_product)
        solution = conjugate_gradient(
            lambda vector: product(vector) + self.cg_damping * vector,
            gradient,
            max_iterations=self.cg_iterations,
            tolerance=self.cg_tolerance,
        )
        return solution, product

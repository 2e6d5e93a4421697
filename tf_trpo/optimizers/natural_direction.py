"""The natural direction x ~ F^-1 g, and the settings for computing it."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import ConjugateGradientResult, conjugate_gradient, is_positive
from tf_trpo.optimizers.curvature import FisherVectorProduct
from tf_trpo.optimizers.objective import Objective
from tf_trpo.optimizers.preconditioner import sampled_fisher_preconditioner
from tf_trpo.ranges import require, require_allowed

_RANK = 384
"""Rank of the preconditioner where one is used by default."""
_WIDE = 65_536
"""Fewest weights of a policy that has a preconditioner by default, as measured with two layers of 256 units."""
_MOST_OUTPUTS = 32
"""Most outputs of a policy that has one by default: factoring their metric takes time cubic in their number."""


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
    """Largest number of conjugate-gradient iterations, one Fisher-vector product each; in [1, 10000]. None: 15, or 5
    with a preconditioner."""
    cg_damping: float = 0.1
    """Damping: added to the diagonal of the Fisher matrix, in the linear system only; zero or positive."""
    cg_tolerance: float = 1e-6
    """Relative residual at which conjugate gradient stops; zero or positive."""
    curvature_fraction: float | None = None
    """Share of the samples for Fisher-vector products, in (0, 1]; gradient and line search use all samples. None: 0.1,
    but at least 64 samples, if observations are or contain images, otherwise 1."""
    fisher_vector_product: FisherVectorProduct = "gauss-newton"
    """How Fisher-vector products are computed; double-backprop gives the same result and takes longer."""
    preconditioner_rank: int | None = None
    """Rank of the preconditioner, made from the Fisher matrix of a few states; in [0, 4096], 0: no preconditioner.
    None: 384 if the policy has at least 65,536 weights, nearly all in Dense layers, at most 32 outputs, no image
    observations and no memory, and cg_damping is positive; otherwise 0."""

    def __post_init__(self) -> None:
        require_allowed(self, cg_iterations="[1, 10000]", cg_damping="[0, inf)", cg_tolerance="[0, inf)")
        require_allowed(self, curvature_fraction="(0, 1]", preconditioner_rank="[0, 4096]")
        damped = self._is_damped or not self.preconditioner_rank
        require(damped, "cg_damping", "positive if there is a preconditioner", self.cg_damping)

    def solve(self, objective: Objective, gradient: tf.Tensor) -> ConjugateGradientResult:
        """Solve for the direction.

        Args:
          objective: F is the curvature of its KL.
          gradient: g [P].

        Returns:
          The solution x, with the undamped product F x, from which the KL of a step is computed.
        """
        return self.solver(objective)(gradient)

    def solver(self, objective: Objective) -> Callable[[tf.Tensor], ConjugateGradientResult]:
        """Return the function g [P] -> solution, for several right-hand sides."""
        size = objective.batch.weights.shape.num_elements() or math.inf
        fraction = self.curvature_fraction or (min(1.0, max(0.1, 64 / size)) if objective.sees_images else 1.0)
        preconditioner = self._preconditioner(objective)
        return functools.partial(
            conjugate_gradient,
            objective.fisher_vector_product(fraction=fraction, kind=self.fisher_vector_product),
            max_iterations=self.cg_iterations or (15 if preconditioner is None else 5),
            damping=self.cg_damping,
            tolerance=self.cg_tolerance,
            preconditioner=preconditioner,
        )

    def _preconditioner(self, objective: Objective) -> Callable[[tf.Tensor], tf.Tensor] | None:
        if objective.in_segments:
            require(not self.preconditioner_rank, "preconditioner_rank", "0 with a memory", self.preconditioner_rank)
            return None
        if self.preconditioner_rank is not None:
            rank, least_covered = self.preconditioner_rank, 0.0
        else:
            fits = self._is_damped and self._is_known_to_help(objective)
            rank, least_covered = _RANK if fits else 0, 0.9
        return sampled_fisher_preconditioner(objective, rank, self.cg_damping, least_covered) if rank else None

    @property
    def _is_damped(self) -> bool:
        return is_positive(self.cg_damping)

    def _is_known_to_help(self, objective: Objective) -> bool:
        """Return whether a preconditioner is known to save time, and may have its whole rank."""
        outputs = objective.policy.action_distribution.num_outputs
        return (
            objective.theta.shape[0] >= _WIDE
            and not objective.sees_images
            and outputs <= _MOST_OUTPUTS
            and objective.batch.weights.shape[0] is not None
            and (objective.chunk_size or _RANK) >= _RANK
        )

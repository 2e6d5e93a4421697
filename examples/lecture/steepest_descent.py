"""Steepest descent with exact line search on a quadratic, to compare with conjugate gradient."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def steepest_descent(matrix: ArrayLike, b: ArrayLike, start: ArrayLike, *, max_iterations: int) -> NDArray[np.float64]:
    """Minimise 1/2 x'Ax - b'x by steps along the residual r = b - Ax with the exact length r'r / r'Ar.

    Successive directions are orthogonal, so the path zigzags if A is ill-conditioned. In each step, the error in the
    norm of A is multiplied by at most (kappa - 1) / (kappa + 1), where kappa is the condition number.

    Args:
      matrix: A, symmetric positive definite, [P, P].
      b: right-hand side, [P].
      start: x_0, [P].
      max_iterations: maximum number of steps, >= 0.

    Returns:
      Iterates x_0, x_1, ..., [k + 1, P], with k <= max_iterations; k is smaller if a residual is exactly 0.

    Raises:
      ValueError: max_iterations < 0, or r'Ar <= 0 for a residual, so that A is not positive definite.

    Source:
      Shewchuk (1994), section 4 and equation 28; lecture, "Conjugate Gradient (CG)", which cites it.
    """
    matrix, b = np.asarray(matrix, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if max_iterations < 0:
        raise ValueError(f"max_iterations must not be negative, got {max_iterations}")
    iterates = [np.array(start, dtype=np.float64)]
    for _ in range(max_iterations):
        residual = b - matrix @ iterates[-1]
        if not residual.any():
            break
        curvature = residual @ matrix @ residual
        if not curvature > 0:
            raise ValueError("matrix is not positive definite along a residual")
        iterates.append(iterates[-1] + (residual @ residual) / curvature * residual)
    return np.array(iterates)

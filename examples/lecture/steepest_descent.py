"""Steepest descent with exact line search on a quadratic: what conjugate gradient is measured against."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def steepest_descent(matrix: ArrayLike, b: ArrayLike, start: ArrayLike, *, max_iterations: int) -> NDArray[np.float64]:
    """Minimise 1/2 x'Ax - b'x along the residual r = b - Ax, each time by the exact length r'r / r'Ar.

    Successive directions are orthogonal, so on an ill-conditioned A the path zigzags: the error in the norm of A
    shrinks by at most (kappa - 1) / (kappa + 1) in a step, kappa being the condition number.

    Args:
      matrix: A, symmetric positive definite, [P, P].
      b: right-hand side, [P].
      start: x_0, [P].
      max_iterations: >= 0.

    Returns:
      Iterates x_0, x_1, ..., [k + 1, P], k <= max_iterations: fewer when the residual is exactly 0.

    Raises:
      ValueError: max_iterations < 0, or a direction with r'Ar <= 0: A is not positive definite.

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

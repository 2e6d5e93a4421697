"""Taylor polynomials of exp(-x^2), an example of how far a local model can be trusted."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def bell_curve(x: ArrayLike) -> NDArray[np.float64]:
    """Compute f(x) = exp(-x^2), the lecture's example."""
    return np.exp(-(np.asarray(x, dtype=np.float64) ** 2))


def bell_curve_taylor_coefficients(center: float, order: int) -> NDArray[np.float64]:
    """Compute the coefficients f^(j)(c) / j! of the Taylor polynomial of f(x) = exp(-x^2) around c, j = 0 .. order.

    f^(j)(c) = (-1)^j H_j(c) exp(-c^2) with the Hermite polynomials H_{j+1} = 2 c H_j - 2 j H_{j-1}. Divided by j!,
    the recursion is (j + 1) t_{j+1} = -2 (c t_j + t_{j-1}), which does not overflow.

    Args:
      center: c, the point of expansion.
      order: degree n of the polynomial, >= 0.

    Returns:
      [order + 1], the lowest degree first.

    Raises:
      ValueError: order < 0.

    Source:
      Lecture, "nth order Taylor approximation of f(x) = e^(-x^2), c = 1".
    """
    if order < 0:
        raise ValueError(f"order must not be negative, got {order}")
    coefficients = np.zeros(order + 1)
    coefficients[0] = np.exp(-(center**2))
    for j in range(order):
        before = coefficients[j - 1] if j > 0 else 0.0
        coefficients[j + 1] = -2.0 * (center * coefficients[j] + before) / (j + 1)
    return coefficients


def taylor_polynomial(coefficients: ArrayLike, center: float, x: ArrayLike) -> NDArray[np.float64]:
    """Compute p_n(x) = sum_j coefficients_j (x - c)^j by Horner's scheme.

    Args:
      coefficients: [n + 1], the lowest degree first.
      center: c, the point of expansion.
      x: points, of any shape.

    Returns:
      Values in the shape of x.
    """
    offset = np.asarray(x, dtype=np.float64) - center
    value = np.zeros_like(offset)
    for coefficient in np.asarray(coefficients, dtype=np.float64)[::-1]:
        value = value * offset + coefficient
    return value

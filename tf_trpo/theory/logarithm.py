"""The logarithm near 1, where divergences are small differences of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def log1p_minus(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(1 + x) - x, accurate to rounding also where the two terms would cancel.

    With s = x / (2 + x), log(1 + x) = 2 artanh(s) and x = 2 s / (1 - s), so that the difference is a series in s that
    begins with -2 s^2.

    Args:
      x: > -1, any shape.

    Returns:
      The shape of x, <= 0.
    """
    small = np.abs(x) < 0.1
    s = np.where(small, x, 0.0) / (2.0 + np.where(small, x, 0.0))
    tail = s**3 * (1 / 3 + s**2 * (1 / 5 + s**2 * (1 / 7 + s**2 * (1 / 9 + s**2 / 11))))
    return np.where(small, 2.0 * (tail - s**2 / (1.0 - s)), np.log1p(np.where(small, 0.0, x)) - x)

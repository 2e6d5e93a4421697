"""What counts as a probability distribution here."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

SUM_TOLERANCE = 1e-9
"""How far the sum of a given distribution may be from 1."""


def require_distributions(name: str, array: ArrayLike) -> NDArray[np.float64]:
    """The array in float64, once it is a distribution along its last axis.

    Args:
      name: of the argument, for the message.
      array: probabilities [..., K], zeros allowed.

    Returns:
      A float64 copy, [..., K].

    Raises:
      ValueError: an entry that is not finite or is negative, a sum that is not 1, or a scalar.
    """
    probabilities = np.array(array, dtype=np.float64)
    if probabilities.ndim == 0 or not np.isfinite(probabilities).all() or (probabilities < 0).any():
        raise ValueError(f"{name} must be probabilities: an array, finite and not negative")
    if (np.abs(probabilities.sum(axis=-1) - 1) > SUM_TOLERANCE).any():
        raise ValueError(f"{name} must sum to 1 along the last axis")
    return probabilities

"""Information, entropy, cross-entropy and KL divergence of distributions over K outcomes and of diagonal Gaussians.

All functions take numbers or arrays and return float64 arrays. Shared arguments and errors:

- p, q: distributions over K outcomes along the last axis, [..., K]; probabilities may be 0, and leading axes broadcast.
  Probabilities in float32 are scaled to a sum of 1.
- mean, std: parameters of a Gaussian with diagonal covariance, [..., D], or scalars if it is univariate; std > 0.
- unit: unit of the result, "nats" (logarithm to the base e) or "bits" (to the base 2).
- ValueError: p or q is not a distribution, both differ in K, a std is not positive and finite, or the unit is unknown.

Source: lecture, "The amount of information I (in bits or nats)" to "D_KL(p||q) = H(p, q) - H(p)".
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr, rel_entr, xlogy

Unit = Literal["nats", "bits"]

SUM_TOLERANCE = 1e-9
"""Largest allowed distance of a distribution's sum from 1, in float64."""
_ROUNDING = 80.0
"""The same in less precise types, in units of the type's rounding error: 1e-5 in float32."""

_NATS = {"nats": 1.0, "bits": float(np.log(2.0))}


def require_distributions(name: str, array: ArrayLike, shape: tuple[int, ...] | None = None) -> NDArray[np.float64]:
    """Return a float64 copy of an array that holds distributions along its last axis.

    Distributions in a less precise type, such as float32, are scaled to a sum of 1.

    Args:
      name: name of the argument, for the message.
      array: probabilities, [..., K].
      shape: required shape; None for any.

    Raises:
      ValueError: the shape is wrong, the array is a scalar, an entry is negative or not finite, or a sum is not 1.
    """
    given = np.asarray(array)
    probabilities = np.array(given, dtype=np.float64)
    if shape is not None and probabilities.shape != shape:
        raise ValueError(f"{name} must have the shape {shape}, got {probabilities.shape}")
    if probabilities.ndim == 0 or not np.isfinite(probabilities).all() or (probabilities < 0).any():
        raise ValueError(f"{name} must be probabilities in an array, finite and not negative")
    sums = probabilities.sum(axis=-1, keepdims=True)
    rounding = _ROUNDING * float(np.finfo(given.dtype).eps) if given.dtype.kind == "f" else 0.0
    if (np.abs(sums - 1) > max(SUM_TOLERANCE, rounding)).any():
        raise ValueError(f"{name} must sum to 1 along the last axis")
    return probabilities / sums if rounding > SUM_TOLERANCE else probabilities


def log1p_minus(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute log(1 + x) - x <= 0 for x > -1 of any shape, accurate to rounding even if the terms nearly cancel.

    With s = x / (2 + x), log(1 + x) = 2 artanh(s) and x = 2 s / (1 - s), so the difference is a series in s that begins
    with -2 s^2.
    """
    small = np.abs(x) < 0.1
    s = np.where(small, x, 0.0) / (2.0 + np.where(small, x, 0.0))
    tail = s**3 * (1 / 3 + s**2 * (1 / 5 + s**2 * (1 / 7 + s**2 * (1 / 9 + s**2 / 11))))
    return np.where(small, 2.0 * (tail - s**2 / (1.0 - s)), np.log1p(np.where(small, 0.0, x)) - x)


def information(probability: ArrayLike, unit: Unit = "nats") -> NDArray[np.float64]:
    """Compute I = -log p, the information of an event of probability p in [0, 1]; infinite for p = 0.

    Raises:
      ValueError: a probability is outside [0, 1], or the unit is unknown.
    """
    probability = np.asarray(probability, dtype=np.float64)
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError("probability must lie in [0, 1]")
    return _in_unit(-xlogy(1.0, probability), unit)


def entropy(p: ArrayLike, unit: Unit = "nats") -> NDArray[np.float64]:
    """Compute H(p) = -sum_i p_i log p_i, [...], between 0 and log K."""
    return _in_unit(entr(require_distributions("p", p)).sum(axis=-1), unit)


def cross_entropy(p: ArrayLike, q: ArrayLike, unit: Unit = "nats") -> NDArray[np.float64]:
    """Compute H(p, q) = -sum_i p_i log q_i >= H(p), [...]: mean message length of p in the optimal code for q.

    H(p, q) is infinite if p has mass on an outcome whose probability under q is 0.
    """
    p, q = _pair(p, q)
    return _in_unit(-xlogy(p, q).sum(axis=-1), unit)


def kl_divergence(p: ArrayLike, q: ArrayLike, unit: Unit = "nats") -> NDArray[np.float64]:
    """Compute KL(p || q) = sum_i p_i log(p_i / q_i) = H(p, q) - H(p) >= 0, [...]; infinite if H(p, q) is.

    The sum is over p log(p/q) - p + q, whose terms are nonnegative and of second order in q - p. So the divergence of
    nearly equal distributions is accurate, and does not depend on rounding errors of the distributions' sums.
    """
    p, q = _pair(p, q)
    near = np.abs(q - p) < 0.5 * p
    relative = np.divide(q - p, p, out=np.zeros_like(p), where=near)
    terms = np.where(near, -p * log1p_minus(relative), rel_entr(p, q) + (q - p))
    return _in_unit(terms.sum(axis=-1), unit)


def gaussian_entropy(std: ArrayLike, unit: Unit = "nats") -> NDArray[np.float64]:
    """Compute the differential entropy 1/2 sum_i (1 + log 2 pi std_i^2), [...]; it may be negative."""
    return _in_unit(np.sum(0.5 * (1.0 + np.log(2.0 * np.pi)) + np.log(_deviations("std", std)), axis=-1), unit)


def gaussian_kl_divergence(
    mean_p: ArrayLike, std_p: ArrayLike, mean_q: ArrayLike, std_q: ArrayLike, unit: Unit = "nats"
) -> NDArray[np.float64]:
    """Compute the joint KL(p || q) >= 0, [...], a sum over the dimensions."""
    std_p, std_q = _deviations("std_p", std_p), _deviations("std_q", std_q)
    with np.errstate(over="ignore"):
        ratio = std_p / std_q
        # 1/2 (v - 1 - log v) with v the ratio of the variances; v - 1 as a product is accurate for nearly equal ones.
        excess = (std_p - std_q) / std_q * (ratio + 1.0)
        shift = 0.5 * ((np.atleast_1d(mean_p) - np.atleast_1d(mean_q)) / std_q) ** 2
    near = np.abs(excess) < 0.1
    # The ratio may overflow, or underflow to 0.
    log_ratio = np.log(std_p) - np.log(std_q)
    spread = np.where(near, -0.5 * log1p_minus(np.where(near, excess, 0.0)), 0.5 * excess - log_ratio)
    return _in_unit(np.sum(spread + shift, axis=-1), unit)


def _pair(p: ArrayLike, q: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two sets of distributions over the same outcomes, with their leading axes broadcast."""
    p, q = require_distributions("p", p), require_distributions("q", q)
    if p.shape[-1] != q.shape[-1]:
        raise ValueError(f"q must have as many outcomes as p ({p.shape[-1]}), got {q.shape[-1]}")
    p, q = np.broadcast_arrays(p, q)
    return p, q


def _in_unit(nats: NDArray[np.float64], unit: Unit) -> NDArray[np.float64]:
    if unit not in _NATS:
        raise ValueError(f"unit must be one of {', '.join(_NATS)}, got {unit!r}")
    # Adding 0 turns -0 into 0.
    return 0.0 + nats / _NATS[unit]


def _deviations(name: str, std: ArrayLike) -> NDArray[np.float64]:
    std = np.atleast_1d(np.asarray(std, dtype=np.float64))
    if not (np.isfinite(std) & (std > 0)).all():
        raise ValueError(f"{name} must be positive and finite")
    return std

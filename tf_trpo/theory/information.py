"""Information, entropy, cross-entropy and KL divergence, of discrete distributions and of Gaussians."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr, rel_entr

from tf_trpo.theory.distributions import require_distributions
from tf_trpo.theory.logarithm import log1p_minus

Unit = Literal["nats", "bits"]
"""Unit of information: log to the base e, or to the base 2."""

_NATS = {"nats": 1.0, "bits": float(np.log(2.0))}
_LOG_2_PI = float(np.log(2.0 * np.pi))


def information(probability: ArrayLike, unit: Unit = "nats") -> NDArray[np.float64]:
    """I(x) = -log p(x): what it tells that an event of this probability has happened.

    Args:
      probability: in [0, 1], any shape; an event of probability 0 would tell infinitely much.
      unit: "nats" or "bits".

    Returns:
      float64, the shape of `probability`, in `unit`, >= 0.

    Raises:
      ValueError: a probability outside [0, 1], or an unknown unit.

    Source:
      Lecture, "The amount of information I (in bits or nats)".
    """
    probability = np.asarray(probability, dtype=np.float64)
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError("probability must lie in [0, 1]")
    with np.errstate(divide="ignore"):
        # The 0 turns the -0 of a certain event into 0.
        return _in_unit(0.0 - np.log(probability), unit)


def entropy(p: ArrayLike, unit: Unit = "nats") -> NDArray[np.float64]:
    """H(p) = -sum_i p_i log p_i, with 0 log 0 = 0.

    Args:
      p: distributions along the last axis, [..., K].
      unit: "nats" or "bits".

    Returns:
      float64 [...], in `unit`, between 0 and log K.

    Raises:
      ValueError: p is not a distribution along its last axis, or the unit is unknown.

    Source:
      Lecture, "The entropy (of a probability distribution)".
    """
    return _in_unit(entr(require_distributions("p", p)).sum(axis=-1), unit)


def cross_entropy(p: ArrayLike, q: ArrayLike, unit: Unit = "nats") -> NDArray[np.float64]:
    """H(p, q) = -sum_i p_i log q_i: length of a message about p in the code made for q.

    Args:
      p: true distributions along the last axis, [..., K].
      q: predicted distributions along the last axis, [..., K]; leading axes broadcast against p's.
      unit: "nats" or "bits".

    Returns:
      float64 [...], in `unit`, >= H(p); infinite where p has mass and q has none.

    Raises:
      ValueError: p or q is not a distribution along its last axis, or the unit is unknown.

    Source:
      Lecture, "The cross-entropy defines the average number of bits".
    """
    p, q = require_distributions("p", p), require_distributions("q", q)
    with np.errstate(divide="ignore"):
        code_lengths = -np.log(q)
    # What never happens costs nothing, even in a code that has no word for it.
    messages = p * np.where(p > 0, code_lengths, 0.0)
    return _in_unit(messages.sum(axis=-1), unit)


def kl_divergence(p: ArrayLike, q: ArrayLike, unit: Unit = "nats") -> NDArray[np.float64]:
    """D_KL(p || q) = sum_i p_i log(p_i / q_i) = H(p, q) - H(p).

    Summed as p log(p/q) - p + q, whose terms are not negative and of second order in q - p: the divergence of two
    nearly equal distributions keeps its digits, and their sums' rounding does not enter it.

    Args:
      p: distributions along the last axis, [..., K].
      q: distributions along the last axis, [..., K]; leading axes broadcast against p's.
      unit: "nats" or "bits".

    Returns:
      float64 [...], in `unit`, >= 0; infinite where p has mass and q has none.

    Raises:
      ValueError: p or q is not a distribution along its last axis, or the unit is unknown.

    Source:
      Lecture, "D_KL(p||q) = H(p, q) - H(p)".
    """
    p, q = np.broadcast_arrays(require_distributions("p", p), require_distributions("q", q))
    near = np.abs(q - p) < 0.5 * p
    relative = np.divide(q - p, p, out=np.zeros_like(p), where=near)
    terms = np.where(near, -p * log1p_minus(relative), rel_entr(p, q) + (q - p))
    return _in_unit(terms.sum(axis=-1), unit)


def gaussian_entropy(std: ArrayLike, unit: Unit = "nats") -> NDArray[np.float64]:
    """Differential entropy of N(mean, diag(std^2)), 1/2 sum_i (1 + log 2 pi std_i^2); it may be negative.

    Args:
      std: standard deviations, > 0: a scalar of a univariate Gaussian, or [..., D] of a D-variate one.
      unit: "nats" or "bits".

    Returns:
      float64 [...], in `unit`.

    Raises:
      ValueError: a standard deviation that is not positive and finite, or an unknown unit.
    """
    std = _deviations("std", std)
    return _in_unit(np.sum(0.5 * (1.0 + _LOG_2_PI) + np.log(std), axis=-1), unit)


def gaussian_cross_entropy(
    mean_p: ArrayLike, std_p: ArrayLike, mean_q: ArrayLike, std_q: ArrayLike, unit: Unit = "nats"
) -> NDArray[np.float64]:
    """H(p, q) = E_p[-log q(x)] of two Gaussians with diagonal covariance.

    Arguments and errors as in `gaussian_kl_divergence`.

    Returns:
      float64 [...], in `unit`.
    """
    mean_p, mean_q = np.atleast_1d(mean_p), np.atleast_1d(mean_q)
    std_p, std_q = _deviations("std_p", std_p), _deviations("std_q", std_q)
    scaled_square = (std_p**2 + (mean_p - mean_q) ** 2) / std_q**2
    return _in_unit(np.sum(0.5 * (_LOG_2_PI + scaled_square) + np.log(std_q), axis=-1), unit)


def gaussian_kl_divergence(
    mean_p: ArrayLike, std_p: ArrayLike, mean_q: ArrayLike, std_q: ArrayLike, unit: Unit = "nats"
) -> NDArray[np.float64]:
    """D_KL(p || q) of two Gaussians with diagonal covariance: joint, a sum over the dimensions.

    Args:
      mean_p: mean of p: a scalar of a univariate Gaussian, or [..., D] of a D-variate one.
      std_p: standard deviations of p, > 0, likewise.
      mean_q: mean of q, likewise.
      std_q: standard deviations of q, > 0, likewise.
      unit: "nats" or "bits".

    Returns:
      float64 [...], in `unit`, >= 0.

    Raises:
      ValueError: a standard deviation that is not positive and finite, or an unknown unit.

    Source:
      Lecture, "D_KL(p||q) = int P(x) log(P(x) / Q(x)) dx", integrated in closed form.
    """
    mean_p, mean_q = np.atleast_1d(mean_p), np.atleast_1d(mean_q)
    std_p, std_q = _deviations("std_p", std_p), _deviations("std_q", std_q)
    # 1/2 (v - 1 - log v) with v the ratio of the variances; v - 1 as a product keeps nearly equal deviations apart.
    spread = -0.5 * log1p_minus((std_p - std_q) * (std_p + std_q) / std_q**2)
    shift = 0.5 * ((mean_p - mean_q) / std_q) ** 2
    return _in_unit(np.sum(spread + shift, axis=-1), unit)


def _in_unit(nats: NDArray[np.float64], unit: Unit) -> NDArray[np.float64]:
    if unit not in _NATS:
        raise ValueError(f"unit must be one of {', '.join(_NATS)}, got {unit!r}")
    return nats / _NATS[unit]


def _deviations(name: str, std: ArrayLike) -> NDArray[np.float64]:
    std = np.atleast_1d(np.asarray(std, dtype=np.float64))
    if not (np.isfinite(std) & (std > 0)).all():
        raise ValueError(f"{name} must be positive and finite")
    return std

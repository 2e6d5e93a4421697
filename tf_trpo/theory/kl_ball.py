"""The best policy within a KL ball around the old one, state by state.

In one state, with p = pi_old, pi = pi_new and advantages A centred so that sum_a p A = 0:

    maximise sum_a pi(a) A(a)   subject to   sum_a p(a) log(p(a) / pi(a)) <= delta,  sum_a pi(a) = 1,  pi >= 0.

The programme is concave. Stationarity of the Lagrangian in pi(a), with mu for the divergence and lambda for the sum,
is A(a) + mu p(a) / pi(a) = lambda. Hence

    pi(a) = mu p(a) / (lambda - A(a)),    mu = 1 / sum_a p(a) / (lambda - A(a)),

a family with the single parameter lambda > max_a A. Its divergence grows from 0 (lambda = infinity, pi = p) as lambda
falls, so finding the lambda for a given delta is a scalar root problem. KL(old || new) does not depend on actions that
the old policy never takes. If the largest A belongs to such an action, lambda ends at that A, at a finite divergence
delta_0, and for larger delta pi = (1 - m) pi_0 + m [best action], with 1 - m = exp(delta_0 - delta).

In units of the best advantage, the family is parametrised by one number in [0, infinity), the tilt z, with
lambda = best / (1 - exp(-z)). The divergence is quadratic in z near 0 and linear for large z, and nothing overflows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_trpo.theory.information import log1p_minus, require_distributions

_LARGEST_TILT = 300.0
"""Tilt at which the relative distance of lambda from the largest advantage is exp(-300), so small that it is 0."""


class KLBallMaximum(NamedTuple):
    """Maximiser and maximum in each state.

    Attributes:
      policy: the maximisers, [S, A]; the old policy if no action is better.
      gains: sum_a pi(a|s) A(s, a) minus the same sum of the old policy, [S], >= 0, concave in max_kl.
      multipliers: mu = d gains / d max_kl, [S]; infinite at max_kl = 0 if the old policy mixes actions of unequal
        advantages.
    """

    policy: NDArray[np.float64]
    gains: NDArray[np.float64]
    multipliers: NDArray[np.float64]


class _Family(NamedTuple):
    """The policy pi(a) = mu p(a) / (lambda - A(a)) at one tilt per state."""

    kl: NDArray[np.float64]  # KL(p || pi), [S]
    kl_slope: NDArray[np.float64]  # the derivative with respect to the tilt, [S]
    ratios: NDArray[np.float64]  # lambda / (lambda - A(a)), [S, A]: pi / p, not normalised
    excess: NDArray[np.float64]  # sum_a p(a) ratios(a) - 1, [S], accurate even if tiny


def maximize_within_kl(old_policy: ArrayLike, advantages: ArrayLike, max_kl: float) -> KLBallMaximum:
    """Maximise sum_a pi(a|s) A(s, a) subject to KL(old || pi) <= max_kl in every state.

    The divergence equals max_kl up to a relative error of 1e-12, unless the greedy gain is reached (up to rounding) at
    a smaller divergence.

    Args:
      old_policy: [S, A].
      advantages: [S, A]; a constant added in a state changes nothing.
      max_kl: delta, >= 0, in nats; infinity gives the greedy policy.

    Raises:
      ValueError: the shapes differ, the policy is not a distribution in each state, or max_kl is negative.

    Source:
      Derived in the module's docstring; the programme is Schulman et al. (2015), equation 11, in one state, and
      lecture, "such that D_KL^max(pi_old, pi) <= delta".
    """
    advantages = np.asarray(advantages, dtype=np.float64)
    if advantages.ndim != 2:
        raise ValueError(f"advantages must be [S, A], got shape {advantages.shape}")
    old_policy = require_distributions("old_policy", old_policy, advantages.shape)
    if not max_kl >= 0:
        raise ValueError(f"max_kl must not be negative, got {max_kl}")
    centred = advantages - np.sum(old_policy * advantages, axis=1, keepdims=True)
    # If all advantages are equal, the centred ones are rounding errors, which must not move the policy.
    rounding = 8 * np.finfo(np.float64).eps * np.abs(advantages).max(axis=1)
    best = np.where(centred.max(axis=1) > rounding, centred.max(axis=1), 0.0)
    greedy = np.eye(centred.shape[1])[centred.argmax(axis=1)]
    if max_kl == np.inf:
        return KLBallMaximum(np.where(best[:, None] > 0, greedy, old_policy), best, np.zeros_like(best))
    scaled = np.divide(centred, best[:, None], out=np.zeros_like(centred), where=best[:, None] > 0)
    tilt = _tilt_for_kl(old_policy, scaled, max_kl)
    family = _family(old_policy, scaled, tilt)
    # If the family ends below max_kl in a state, mass moves to an action of old probability 0; this share stays.
    kept = np.where(np.isinf(tilt), np.exp(np.minimum(family.kl - max_kl, 0.0)), 1.0)
    unnormalised = old_policy * family.ratios
    policy = kept[:, None] * unnormalised / unnormalised.sum(axis=1, keepdims=True) + (1.0 - kept)[:, None] * greedy
    inverse_lambda = np.where(tilt == 0, 1.0, -np.expm1(-tilt)) * (1.0 + family.excess)
    gains = best * (kept * family.excess / inverse_lambda + (1.0 - kept))
    mixed = np.any((old_policy > 0) & (scaled != 0), axis=1)
    multipliers = np.where(tilt == 0, np.where(mixed, np.inf, best), best * kept / inverse_lambda)
    return KLBallMaximum(policy, gains, multipliers)


def _family(old_policy: NDArray[np.float64], scaled: NDArray[np.float64], tilt: NDArray[np.float64]) -> _Family:
    tilt = tilt[:, None]
    q = scaled * -np.expm1(-tilt)
    # 1 - q without cancellation for q near 1; 1 for actions of probability 0.
    rest = np.where(old_policy > 0, (1.0 - scaled) + scaled * np.exp(-tilt), 1.0)
    # With sum_a p q = 0, the divergence sum p log(rest) + log sum p / rest is a sum of second-order terms only.
    excess = np.sum(old_policy * q**2 / rest, axis=1)
    logarithms = np.where(np.abs(q) < 0.1, log1p_minus(np.where(np.abs(q) < 0.1, -q, 0.0)), np.log(rest) + q)
    kl = np.sum(old_policy * logarithms, axis=1) + np.log1p(excess)
    slope = np.sum(old_policy * q**2 * (2.0 - q) / rest**2, axis=1) / (1.0 + excess) - excess
    with np.errstate(divide="ignore", invalid="ignore"):
        # d log(1/lambda) / dz, which is 1 / (exp(z) - 1).
        kl_slope = slope / np.expm1(tilt[:, 0])
    return _Family(np.maximum(kl, 0.0), kl_slope, 1.0 / rest, excess)


def _tilt_for_kl(old_policy: NDArray[np.float64], scaled: NDArray[np.float64], max_kl: float) -> NDArray[np.float64]:
    """Find the tilt at which each state's divergence is max_kl, [S]; infinite if the family ends below max_kl.

    Bracketed Newton's method on the square root of the divergence, which is nearly linear near 0.
    """
    states = len(scaled)
    off_support = np.where(old_policy > 0, scaled, -np.inf).max(axis=1) < 1
    movable = np.any(scaled != 0, axis=1) & (max_kl > 0)
    end = _family(old_policy, scaled, np.where(off_support & movable, np.inf, 0.0)).kl
    ended = off_support & movable & (end <= max_kl)
    low, high = np.zeros(states), np.full(states, _LARGEST_TILT)
    # To second order, the divergence is tilt^2 / 2 times the variance. For small max_kl, this start is just below the
    # root.
    variance = np.sum(old_policy * scaled**2, axis=1)
    tilt = np.minimum(np.sqrt(2.0 * max_kl / np.where(variance > 0, variance, 1.0)), _LARGEST_TILT)
    for _ in range(200):
        family = _family(old_policy, scaled, tilt)
        above = family.kl >= max_kl
        low, high = np.where(above, low, tilt), np.where(above, tilt, high)
        root = np.sqrt(family.kl)
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = tilt - (root - np.sqrt(max_kl)) * 2.0 * root / family.kl_slope
        proposal = np.where((newton > low) & (newton < high), newton, 0.5 * (low + high))
        settled = (np.abs(family.kl - max_kl) <= 1e-12 * max_kl) | (high - low <= 1e-15 * high)
        tilt = np.where(settled, tilt, proposal)
        if (settled | ended | ~movable).all():
            break
    return np.where(movable, np.where(ended, np.inf, tilt), 0.0)

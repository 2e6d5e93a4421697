"""Policy iteration that maximises the lower bound in each iteration: the expected return never falls."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from tf_trpo.theory.finite_mdp import FiniteMDP, PolicyEvaluation
from tf_trpo.theory.kl_ball import maximize_within_kl
from tf_trpo.theory.lower_bound import local_approximation, lower_bound, max_kl_divergence, penalty_coefficient

_SMALLEST_KL = 1e-28
"""A smaller divergence changes probabilities by less than they are rounded to."""
_LARGEST_KL = 600.0
"""A larger divergence takes probabilities below exp(-600), and gains nothing more."""


class MinorizationMaximizationStatus(enum.IntEnum):
    """Why the iteration ended."""

    MAX_ITERATIONS = 0
    """The iterations were used up."""
    STATIONARY = 1
    """No policy has a higher bound than the old one."""


class LowerBoundMaximum(NamedTuple):
    """Maximiser of M(pi) = L(pi) - C D_KL^max(pi_old, pi).

    Attributes:
      policy: [S, A]; the old policy itself when `kl` is 0.
      kl: the divergence in every state that moves, in nats; infinite when C is 0.
    """

    policy: NDArray[np.float64]
    kl: float


class MinorizationMaximizationResult(NamedTuple):
    """N iterations and where they led.

    Attributes:
      policy: the last policy, [S, A].
      expected_returns: eta of the first policy and of each new one, [N + 1].
      approximations: L of each new policy about the one before it, [N].
      lower_bounds: M of each new policy about the one before it, [N].
      kl_divergences: D_KL^max from the policy before, in nats, [N].
      coefficients: C of the policy before, [N].
      status: why it ended.
    """

    policy: NDArray[np.float64]
    expected_returns: NDArray[np.float64]
    approximations: NDArray[np.float64]
    lower_bounds: NDArray[np.float64]
    kl_divergences: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    status: MinorizationMaximizationStatus


def maximize_lower_bound(old: PolicyEvaluation) -> LowerBoundMaximum:
    """Maximise M(pi) = L(pi) - C D_KL^max(pi_old, pi) over all policies.

    The largest divergence couples the states. At a given level delta of it they come apart: each maximises its own
    sum_a pi(a|s) A(s, a) in its KL ball (kl_ball.py), and G(delta) = sum_s rho(s) gain_s(delta) - C delta is left, a
    concave function of one number. Its derivative sum_s rho(s) mu_s(delta) - C falls from plus infinity, when
    some visited state mixes unequal actions, to -C: the root is the maximum.

    Where the old policy is deterministic, gain_s(delta) = (1 - exp(-delta)) max_a A(s, a), with finite slope at 0;
    sum_s rho(s) max_a A(s, a) <= epsilon / (1 - gamma) <= C once gamma >= 1/5, and the maximum is at delta = 0: from
    a deterministic policy, however bad, the guaranteed step is none. Start from a policy that mixes.

    States that are never visited may move too, within the same divergence: it costs nothing.

    Args:
      old: evaluation of the old policy.

    Returns:
      A `LowerBoundMaximum`.

    Source:
      Schulman et al. (2015), algorithm 1; lecture, "minorization-maximization algorithm".
    """
    coefficient = penalty_coefficient(old)
    # The linear solve leaves rounding, of either sign, on states that are never visited.
    weights = np.maximum(old.visitation_frequencies, 0.0)
    greedy_gain = float(weights @ maximize_within_kl(old.policy, old.advantages, np.inf).gains)
    if greedy_gain <= 0:
        return LowerBoundMaximum(old.policy, 0.0)
    if coefficient == 0:
        return LowerBoundMaximum(maximize_within_kl(old.policy, old.advantages, np.inf).policy, np.inf)

    # Logarithms on both axes: for small delta, mu is deviation / sqrt(2 delta), and the curve a straight line.
    @functools.cache
    def log_slope_ratio(log_kl: float) -> float:
        multipliers = maximize_within_kl(old.policy, old.advantages, np.exp(log_kl)).multipliers
        return float(np.log(weights @ multipliers / coefficient))

    # By concavity mu(delta) <= gain(delta) / delta <= greedy gain / delta: no maximum lies above this divergence.
    low, high = float(np.log(_SMALLEST_KL)), float(np.log(min(greedy_gain / coefficient, _LARGEST_KL)))
    deviation = float(weights @ np.sqrt(np.sum(old.policy * old.advantages**2, axis=1)))
    guess = 2.0 * np.log(max(deviation / coefficient, np.sqrt(_SMALLEST_KL))) - np.log(2.0)
    if high <= low:
        return LowerBoundMaximum(old.policy, 0.0)
    kl = float(np.exp(_falling_root(log_slope_ratio, low, high, float(np.clip(guess, low, high)))))
    if kl <= _SMALLEST_KL:
        return LowerBoundMaximum(old.policy, 0.0)
    return LowerBoundMaximum(maximize_within_kl(old.policy, old.advantages, kl).policy, kl)


def _falling_root(function: Callable[[float], float], low: float, high: float, guess: float) -> float:
    """Root in [low, high] of a falling function with a slope near -1/2 about the guess; the nearer end if it has none.

    The bound is flat at its maximum: an error of 1e-8 in log delta costs 1e-16 of it.
    """
    other = min(max(guess + 2.2 * function(guess), low), high)
    if function(guess) * function(other) > 0:
        if function(low) <= 0:
            return low
        if function(high) >= 0:
            return high
        guess, other = low, high
    return float(brentq(function, guess, other, xtol=1e-8))


def minorization_maximization(
    mdp: FiniteMDP, policy: ArrayLike, *, max_iterations: int
) -> MinorizationMaximizationResult:
    """Policy iteration with guaranteed improvement: eta(new) >= M(new) >= M(old) = eta(old).

    The steps are small: their divergence is about (S / C)^2 / 2, with S the visited standard deviation of the
    advantages, of the order of (1 - gamma)^2 / 32. That is why the practical algorithm fixes delta instead.

    Args:
      mdp: where the policy acts.
      policy: the first policy, [S, A].
      max_iterations: >= 1.

    Returns:
      A `MinorizationMaximizationResult`.

    Raises:
      ValueError: policy is not one of the MDP, or max_iterations < 1.

    Source:
      Schulman et al. (2015), algorithm 1; lecture, "minorization-maximization algorithm", "in practice only small
      steps".
    """
    if max_iterations < 1:
        raise ValueError(f"max_iterations must be at least 1, got {max_iterations}")
    old = mdp.evaluate(policy)
    expected_returns = [old.expected_return]
    rows: list[tuple[float, float, float, float]] = []
    status = MinorizationMaximizationStatus.MAX_ITERATIONS
    for _ in range(max_iterations):
        maximum = maximize_lower_bound(old)
        if maximum.kl == 0:
            status = MinorizationMaximizationStatus.STATIONARY
            break
        new = mdp.evaluate(maximum.policy)
        divergence = max_kl_divergence(old.policy, new.policy)
        approximation, bound = local_approximation(old, new.policy), lower_bound(old, new.policy)
        rows.append((approximation, bound, divergence, penalty_coefficient(old)))
        expected_returns.append(new.expected_return)
        old = new
    approximations, bounds, divergences, coefficients = np.array(rows).reshape(-1, 4).T
    return MinorizationMaximizationResult(
        policy=old.policy,
        expected_returns=np.array(expected_returns),
        approximations=approximations,
        lower_bounds=bounds,
        kl_divergences=divergences,
        coefficients=coefficients,
        status=status,
    )

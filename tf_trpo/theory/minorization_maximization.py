"""Policy iteration that maximises the lower bound in each iteration, so that the expected return never decreases.

Source: Schulman et al. (2015), algorithm 1; lecture, "minorization-maximization algorithm" and "only small steps".
"""

from __future__ import annotations

import enum
import functools
import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from tf_trpo.theory.finite_mdp import FiniteMDP, PolicyEvaluation
from tf_trpo.theory.kl_ball import maximize_within_kl
from tf_trpo.theory.lower_bound import local_approximation, lower_bound, max_kl_divergence, penalty_coefficient

_SMALLEST_KL = 1e-28
"""Smallest divergence considered; a smaller one changes probabilities by less than their rounding errors."""
_LARGEST_KL = 600.0
"""Largest divergence considered; it makes probabilities as small as exp(-600), and more gains nothing."""


class MinorizationMaximizationStatus(enum.IntEnum):
    """Reasons why the iteration ended."""

    MAX_ITERATIONS = 0
    """The maximum number of iterations was reached."""
    STATIONARY = 1
    """No policy has a higher bound than the old one."""


class LowerBoundMaximum(NamedTuple):
    """Maximiser of M(pi) = L(pi) - C D_KL^max(pi_old, pi).

    Attributes:
      policy: [S, A]; the old policy itself if `kl` is 0.
      kl: the divergence in every state that moves, in nats; infinite if C is 0.
    """

    policy: NDArray[np.float64]
    kl: float


class MinorizationMaximizationResult(NamedTuple):
    """The record of N iterations.

    Attributes:
      policy: the last policy, [S, A].
      expected_returns: eta of the first policy and of each new one, [N + 1].
      approximations, lower_bounds: L and M of each new policy about the previous policy, [N].
      kl_divergences: D_KL^max from the previous policy to each new policy, in nats, [N].
      coefficients: C of the previous policy, [N].
      status: why the iteration ended.
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

    The largest divergence couples the states. For a given largest divergence delta, each state independently maximises
    sum_a pi(a|s) A(s, a) in its KL ball (kl_ball.py). What remains is to maximise
    G(delta) = sum_s rho(s) gain_s(delta) - C delta, a concave function of one number. Its derivative
    sum_s rho(s) mu_s(delta) - C falls from plus infinity, if some visited state mixes actions of unequal advantages, to
    -C. The root is the maximum. States that are never visited may move within the same divergence, at no cost.

    If the old policy is deterministic, gain_s(delta) = (1 - exp(-delta)) max_a A(s, a), with finite slope at 0, and
    sum_s rho(s) max_a A(s, a) <= epsilon / (1 - gamma) <= C for gamma >= 1/5. Then the maximum is at delta = 0: a
    deterministic policy never changes, however bad it is. So start from a stochastic policy.
    """
    coefficient = penalty_coefficient(old)
    # On states that are never visited, the linear solve leaves rounding errors, which may be negative.
    weights = np.maximum(old.visitation_frequencies, 0.0)
    greedy = maximize_within_kl(old.policy, old.advantages, np.inf)
    greedy_gain = float(weights @ greedy.gains)
    if greedy_gain <= 0:
        return LowerBoundMaximum(old.policy, 0.0)
    if coefficient == 0:
        return LowerBoundMaximum(greedy.policy, np.inf)

    # In logarithms, the curve is nearly a straight line: for small delta, mu is deviation / sqrt(2 delta).
    @functools.cache
    def log_slope_ratio(log_kl: float) -> float:
        multipliers = maximize_within_kl(old.policy, old.advantages, np.exp(log_kl)).multipliers
        return float(np.log(weights @ multipliers / coefficient))

    # By concavity mu(delta) <= gain(delta) / delta <= greedy gain / delta: no maximum lies above this divergence.
    low, high = float(np.log(_SMALLEST_KL)), float(np.log(min(greedy_gain / coefficient, _LARGEST_KL)))
    if high <= low or log_slope_ratio(low) <= 0:
        return LowerBoundMaximum(old.policy, 0.0)
    # The bound is flat at its maximum: an error of 1e-8 in log delta costs 1e-16 of the bound.
    log_kl = high if log_slope_ratio(high) >= 0 else brentq(log_slope_ratio, low, high, xtol=1e-8)
    kl = float(np.exp(log_kl))
    return LowerBoundMaximum(maximize_within_kl(old.policy, old.advantages, kl).policy, kl)


def minorization_maximization(
    mdp: FiniteMDP, policy: ArrayLike, *, max_iterations: int
) -> MinorizationMaximizationResult:
    """Improve a policy [S, A] in at most max_iterations >= 1 steps with eta(new) >= M(new) >= M(old) = eta(old).

    The steps are small: their divergence is about (S / C)^2 / 2, where S is the sum over states of rho(s), the
    unnormalised visits, times the standard deviation of the advantages there. This is of the order of
    (1 - gamma)^2 / 32. Therefore the practical algorithm fixes delta instead.

    Raises:
      ValueError: policy is not a policy of the MDP, or max_iterations < 1.
    """
    if max_iterations < 1:
        raise ValueError(f"max_iterations must be at least 1, got {max_iterations}")
    evaluations, status = [mdp.evaluate(policy)], MinorizationMaximizationStatus.MAX_ITERATIONS
    for _ in range(max_iterations):
        maximum = maximize_lower_bound(evaluations[-1])
        if maximum.kl == 0:
            status = MinorizationMaximizationStatus.STATIONARY
            break
        evaluations.append(mdp.evaluate(maximum.policy))
    steps = [(old, new.policy) for old, new in itertools.pairwise(evaluations)]
    return MinorizationMaximizationResult(
        policy=evaluations[-1].policy,
        expected_returns=np.array([evaluation.expected_return for evaluation in evaluations]),
        approximations=np.array([local_approximation(*step) for step in steps]),
        lower_bounds=np.array([lower_bound(*step) for step in steps]),
        kl_divergences=np.array([max_kl_divergence(old.policy, new) for old, new in steps]),
        coefficients=np.array([penalty_coefficient(old) for old, _ in steps]),
        status=status,
    )

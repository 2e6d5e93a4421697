"""The local approximation L, and the lower bound on the expected return that makes it safe to optimise."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_trpo.theory.distributions import require_distributions
from tf_trpo.theory.finite_mdp import PolicyEvaluation
from tf_trpo.theory.information import kl_divergence


def performance_difference(old: PolicyEvaluation, new: PolicyEvaluation) -> float:
    """eta(new) - eta(old), by sum_s rho_new(s) sum_a pi_new(a|s) A_old(s, a).

    The identity of Kakade and Langford: the new policy's own visits, weighed by the old policy's advantages.

    Args:
      old: evaluation of the old policy.
      new: evaluation of the new policy, in the same MDP.

    Source:
      Kakade and Langford (2002), lemma 6.1; Schulman et al. (2015), equation 2; lecture, "Let's express
      eta(pi_new) in terms of advantage over the original policy".
    """
    return float(new.visitation_frequencies @ _expected_advantages(old, new.policy))


def local_approximation(old: PolicyEvaluation, new_policy: ArrayLike) -> float:
    """L(pi_new) = eta(pi_old) + sum_s rho_old(s) sum_a pi_new(a|s) A_old(s, a).

    It agrees with eta at the old policy in value and in gradient.

    Args:
      old: evaluation of the old policy.
      new_policy: pi_new(a|s), [S, A].

    Raises:
      ValueError: new_policy is not a policy of the same shape.

    Source:
      Schulman et al. (2015), equations 3 and 4; lecture, "approximate locally".
    """
    return old.expected_return + float(old.visitation_frequencies @ _expected_advantages(old, new_policy))


def max_kl_divergence(old_policy: ArrayLike, new_policy: ArrayLike) -> float:
    """D_KL^max(old, new) = max_s KL(pi_old(.|s) || pi_new(.|s)), in nats, over all states, visited or not.

    Args:
      old_policy: [S, A].
      new_policy: [S, A].

    Returns:
      >= 0; infinite where the new policy drops an action of the old one.

    Raises:
      ValueError: an argument is not a policy.

    Source:
      Schulman et al. (2015), section 3; lecture, "there exists the following bound".
    """
    return float(kl_divergence(old_policy, new_policy).max())


def max_total_variation(old_policy: ArrayLike, new_policy: ArrayLike) -> float:
    """D_TV^max(old, new) = max_s 1/2 sum_a |pi_old(a|s) - pi_new(a|s)|, in [0, 1].

    Arguments and errors as in `max_kl_divergence`.

    Source:
      Schulman et al. (2015), equation 7.
    """
    old_policy = require_distributions("old_policy", old_policy)
    new_policy = require_distributions("new_policy", new_policy)
    return float(0.5 * np.abs(old_policy - new_policy).sum(axis=-1).max())


def penalty_coefficient(old: PolicyEvaluation) -> float:
    """C = 4 epsilon gamma / (1 - gamma)^2 with epsilon = max_{s, a} |A_old(s, a)|.

    Args:
      old: evaluation of the old policy.

    Returns:
      >= 0, in the unit of the rewards for each nat.

    Source:
      Schulman et al. (2015), theorem 1 and equation 9; lecture, "there exists the following bound".
    """
    epsilon = float(np.abs(old.advantages).max())
    return 4.0 * epsilon * old.gamma / (1.0 - old.gamma) ** 2


def lower_bound(old: PolicyEvaluation, new_policy: ArrayLike) -> float:
    """M(pi_new) = L(pi_new) - C D_KL^max(pi_old, pi_new) <= eta(pi_new), with equality at the old policy.

    Args:
      old: evaluation of the old policy.
      new_policy: pi_new(a|s), [S, A].

    Returns:
      The bound; minus infinity where the divergence is infinite and C is not 0.

    Raises:
      ValueError: new_policy is not a policy of the same shape.

    Source:
      Schulman et al. (2015), equations 9 and 10; lecture, "there exists the following bound".
    """
    approximation = local_approximation(old, new_policy)
    return approximation - _penalty(penalty_coefficient(old), max_kl_divergence(old.policy, new_policy))


def total_variation_lower_bound(old: PolicyEvaluation, new_policy: ArrayLike) -> float:
    """L(pi_new) - C D_TV^max(pi_old, pi_new)^2 <= eta(pi_new): theorem 1 before D_TV^2 <= D_KL loosens it.

    Arguments and errors as in `lower_bound`; this bound is always finite.

    Source:
      Schulman et al. (2015), theorem 1.
    """
    distance = max_total_variation(old.policy, new_policy)
    return local_approximation(old, new_policy) - _penalty(penalty_coefficient(old), distance**2)


def _penalty(coefficient: float, divergence: float) -> float:
    # Without a coefficient there is no penalty, even on an infinite divergence: with gamma = 0, L is eta itself.
    return coefficient * divergence if coefficient > 0 else 0.0


def _expected_advantages(old: PolicyEvaluation, new_policy: ArrayLike) -> NDArray[np.float64]:
    """sum_a pi_new(a|s) A_old(s, a), [S]."""
    new_policy = require_distributions("new_policy", new_policy)
    if new_policy.shape != old.policy.shape:
        raise ValueError(f"new_policy must be {old.policy.shape}, got shape {new_policy.shape}")
    return np.sum(new_policy * old.advantages, axis=1)

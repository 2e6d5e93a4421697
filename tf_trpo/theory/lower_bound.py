"""The local approximation L of the expected return eta, and the lower bound by which maximising L is safe.

`old` and `new` are evaluations of policies in one MDP; `old_policy` and `new_policy` are probabilities pi(a|s), [S, A].
All functions raise ValueError if an array is not a distribution in each state, or if the shapes of two policies differ.

Source: Schulman et al. (2015), section 3, whose theorem and equations are named below; lecture, "Let's express
eta(pi_new) in terms of advantage over the original policy", "approximate locally", "there exists the following bound".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_trpo.theory.finite_mdp import PolicyEvaluation
from tf_trpo.theory.information import kl_divergence, require_distributions


def performance_difference(old: PolicyEvaluation, new: PolicyEvaluation) -> float:
    """Compute eta(new) - eta(old) = sum_s rho_new(s) sum_a pi_new(a|s) A_old(s, a).

    Kakade and Langford (2002), lemma 6.1; equation 2 of Schulman et al.
    """
    return float(new.visitation_frequencies @ _expected_advantages(old, new.policy))


def local_approximation(old: PolicyEvaluation, new_policy: ArrayLike) -> float:
    """Compute L(pi_new) = eta(pi_old) + sum_s rho_old(s) sum_a pi_new(a|s) A_old(s, a).

    At the old policy, L agrees with eta in value and in gradient (equations 3 and 4).
    """
    return old.expected_return + float(old.visitation_frequencies @ _expected_advantages(old, new_policy))


def max_kl_divergence(old_policy: ArrayLike, new_policy: ArrayLike) -> float:
    """Compute D_KL^max = max_s KL(pi_old(.|s) || pi_new(.|s)) >= 0, in nats, over all states, visited or not.

    The divergence is infinite if an action of the old policy has probability 0 in the new one.
    """
    old_policy = require_distributions("old_policy", old_policy)
    return float(kl_divergence(old_policy, require_distributions("new_policy", new_policy, old_policy.shape)).max())


def penalty_coefficient(old: PolicyEvaluation) -> float:
    """Compute C = 4 epsilon gamma / (1 - gamma)^2 >= 0, with epsilon = max |A_old(s, a)|, in units of return per nat.

    This is the coefficient of theorem 1 and equation 9.
    """
    return 4.0 * float(np.abs(old.advantages).max()) * old.gamma / (1.0 - old.gamma) ** 2


def lower_bound(old: PolicyEvaluation, new_policy: ArrayLike) -> float:
    """Compute M(pi_new) = L(pi_new) - C D_KL^max(pi_old, pi_new) <= eta(pi_new), with equality at the old policy.

    The bound (equations 9 and 10) is minus infinity if the divergence is infinite and C is not 0.
    """
    coefficient, divergence = penalty_coefficient(old), max_kl_divergence(old.policy, new_policy)
    # If C is 0 (for example with gamma = 0, where L is eta itself), even an infinite divergence costs nothing.
    return local_approximation(old, new_policy) - (coefficient * divergence if coefficient > 0 else 0.0)


def _expected_advantages(old: PolicyEvaluation, new_policy: ArrayLike) -> NDArray[np.float64]:
    """Compute sum_a pi_new(a|s) A_old(s, a), [S]."""
    return np.sum(require_distributions("new_policy", new_policy, old.policy.shape) * old.advantages, axis=1)

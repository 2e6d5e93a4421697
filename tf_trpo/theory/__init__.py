"""The theory of TRPO on finite MDPs, exact: NumPy arrays in, float64 arrays out."""

from tf_trpo.theory.finite_mdp import FiniteMDP, PolicyEvaluation, random_mdp, random_policy
from tf_trpo.theory.information import (
    cross_entropy,
    entropy,
    gaussian_cross_entropy,
    gaussian_entropy,
    gaussian_kl_divergence,
    information,
    kl_divergence,
)
from tf_trpo.theory.kl_ball import KLBallMaximum, maximize_within_kl
from tf_trpo.theory.lower_bound import (
    local_approximation,
    lower_bound,
    max_kl_divergence,
    max_total_variation,
    penalty_coefficient,
    performance_difference,
    total_variation_lower_bound,
)
from tf_trpo.theory.minorization_maximization import (
    LowerBoundMaximum,
    MinorizationMaximizationResult,
    MinorizationMaximizationStatus,
    maximize_lower_bound,
    minorization_maximization,
)

__all__ = [
    "FiniteMDP",
    "KLBallMaximum",
    "LowerBoundMaximum",
    "MinorizationMaximizationResult",
    "MinorizationMaximizationStatus",
    "PolicyEvaluation",
    "cross_entropy",
    "entropy",
    "gaussian_cross_entropy",
    "gaussian_entropy",
    "gaussian_kl_divergence",
    "information",
    "kl_divergence",
    "local_approximation",
    "lower_bound",
    "max_kl_divergence",
    "max_total_variation",
    "maximize_lower_bound",
    "maximize_within_kl",
    "minorization_maximization",
    "penalty_coefficient",
    "performance_difference",
    "random_mdp",
    "random_policy",
    "total_variation_lower_bound",
]

"""The theory behind the method, exact and small: tabular MDPs, closed forms, float64. Arrays in, arrays out."""

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
from tf_trpo.theory.linear_quadratic import LinearQuadratic
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
from tf_trpo.theory.steepest_descent import steepest_descent
from tf_trpo.theory.taylor import bell_curve, bell_curve_taylor_coefficients, taylor_polynomial
from tf_trpo.theory.trust_region_method import (
    TrustRegionResult,
    TrustRegionSettings,
    TrustRegionStatus,
    minimize_in_trust_regions,
)
from tf_trpo.theory.trust_region_subproblem import (
    StepStatus,
    SubproblemStep,
    cauchy_step,
    dogleg_step,
    exact_step,
)

__all__ = [
    "FiniteMDP",
    "KLBallMaximum",
    "LinearQuadratic",
    "LowerBoundMaximum",
    "MinorizationMaximizationResult",
    "MinorizationMaximizationStatus",
    "PolicyEvaluation",
    "StepStatus",
    "SubproblemStep",
    "TrustRegionResult",
    "TrustRegionSettings",
    "TrustRegionStatus",
    "bell_curve",
    "bell_curve_taylor_coefficients",
    "cauchy_step",
    "cross_entropy",
    "dogleg_step",
    "entropy",
    "exact_step",
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
    "minimize_in_trust_regions",
    "minorization_maximization",
    "penalty_coefficient",
    "performance_difference",
    "random_mdp",
    "random_policy",
    "steepest_descent",
    "taylor_polynomial",
    "total_variation_lower_bound",
]

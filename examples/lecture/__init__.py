"""The toy problems of the lecture (docs/lecture.md), exact and in float64, and its figures.

`python -m examples.lecture` draws the figures.
"""

from examples.lecture.linear_quadratic import LinearQuadratic
from examples.lecture.steepest_descent import steepest_descent
from examples.lecture.taylor import bell_curve, bell_curve_taylor_coefficients, taylor_polynomial
from examples.lecture.trust_region_method import (
    TrustRegionResult,
    TrustRegionSettings,
    TrustRegionStatus,
    minimize_in_trust_regions,
)
from examples.lecture.trust_region_subproblem import (
    StepStatus,
    SubproblemStep,
    cauchy_step,
    dogleg_step,
    exact_step,
)

__all__ = [
    "LinearQuadratic",
    "StepStatus",
    "SubproblemStep",
    "TrustRegionResult",
    "TrustRegionSettings",
    "TrustRegionStatus",
    "bell_curve",
    "bell_curve_taylor_coefficients",
    "cauchy_step",
    "dogleg_step",
    "exact_step",
    "minimize_in_trust_regions",
    "steepest_descent",
    "taylor_polynomial",
]

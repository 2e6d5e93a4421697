"""The toy problems of the lecture (docs/lecture.md), computed exactly in float64, and its figures.

`python -m examples.lecture` draws the figures.
"""

from examples.lecture.linear_quadratic import LinearQuadratic as LinearQuadratic
from examples.lecture.steepest_descent import steepest_descent as steepest_descent
from examples.lecture.taylor import bell_curve as bell_curve
from examples.lecture.taylor import bell_curve_taylor_coefficients as bell_curve_taylor_coefficients
from examples.lecture.taylor import taylor_polynomial as taylor_polynomial
from examples.lecture.trust_region_method import TrustRegionResult as TrustRegionResult
from examples.lecture.trust_region_method import TrustRegionSettings as TrustRegionSettings
from examples.lecture.trust_region_method import TrustRegionStatus as TrustRegionStatus
from examples.lecture.trust_region_method import minimize_in_trust_regions as minimize_in_trust_regions
from examples.lecture.trust_region_subproblem import StepStatus as StepStatus
from examples.lecture.trust_region_subproblem import SubproblemStep as SubproblemStep
from examples.lecture.trust_region_subproblem import cauchy_step as cauchy_step
from examples.lecture.trust_region_subproblem import dogleg_step as dogleg_step
from examples.lecture.trust_region_subproblem import exact_step as exact_step

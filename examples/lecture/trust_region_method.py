"""The trust-region method for a smooth function of n variables, with a record of every step that was tried."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from examples.lecture.trust_region_subproblem import SubproblemStep, exact_step

Solver = Callable[[ArrayLike, ArrayLike, float], SubproblemStep]
"""(gradient [P], Hessian [P, P], radius) -> step."""


class TrustRegionStatus(enum.IntEnum):
    """Why the loop ended."""

    MINIMUM = 0
    """The gradient is within its tolerance, and no curvature is negative."""
    SADDLE_POINT = 1
    """The gradient is within its tolerance, some curvature is negative, and the solver finds no descent."""
    MAX_ITERATIONS = 2
    """The maximum number of iterations was reached."""
    RADIUS_TOO_SMALL = 3
    """The radius fell below its minimum, because the function does not agree with its derivatives."""
    NOT_FINITE = 4
    """The function, its gradient or its Hessian was not finite at an iterate."""


@dataclasses.dataclass(frozen=True)
class TrustRegionSettings:
    """Thresholds and bounds of the loop; the defaults are the classic ones.

    Attributes:
      radius: radius of the first region, > 0.
      min_radius: radius below which the loop ends, > 0.
      max_radius: largest radius of a region, >= radius.
      accept_above: a step is accepted if its ratio, actual / predicted reduction, is above this, in [0, shrink_below].
      shrink_below: the radius shrinks if the ratio is below this.
      expand_above: the radius grows if the ratio is above this and the step has reached the boundary, < 1.
      shrink_factor: factor of the radius when it shrinks, in (0, 1).
      expand_factor: factor of the radius when it grows, > 1.
      gradient_tolerance: |gradient| at which the loop stops, >= 0.
      curvature_tolerance: a curvature is negative if it is below minus this times the largest absolute eigenvalue.
      max_iterations: maximum number of steps that are tried, >= 1.

    Raises:
      ValueError: a setting is outside its range.

    Source:
      Nocedal and Wright (2006), algorithm 4.1.
    """

    radius: float = 1.0
    min_radius: float = 1e-12
    max_radius: float = 100.0
    accept_above: float = 0.1
    shrink_below: float = 0.25
    expand_above: float = 0.75
    shrink_factor: float = 0.25
    expand_factor: float = 2.0
    gradient_tolerance: float = 1e-8
    curvature_tolerance: float = 1e-8
    max_iterations: int = 200

    def __post_init__(self) -> None:
        if not 0 < self.min_radius <= self.radius <= self.max_radius:
            raise ValueError("radii must keep 0 < min_radius <= radius <= max_radius")
        if not 0 <= self.accept_above <= self.shrink_below < self.expand_above < 1:
            raise ValueError("thresholds must keep 0 <= accept_above <= shrink_below < expand_above < 1")
        if not 0 < self.shrink_factor < 1 < self.expand_factor:
            raise ValueError("factors must keep 0 < shrink_factor < 1 < expand_factor")
        if not (self.gradient_tolerance >= 0 and self.curvature_tolerance >= 0):
            raise ValueError("gradient_tolerance and curvature_tolerance must not be negative")
        if self.max_iterations < 1:
            raise ValueError(f"max_iterations must be at least 1, got {self.max_iterations}")


class TrustRegionResult(NamedTuple):
    """The end of the loop, and the N steps that it tried.

    Attributes:
      x: the last iterate, [P].
      status: a `TrustRegionStatus`.
      iterates: centre of each region, [N, P].
      candidates: end of each step, accepted or refused, [N, P].
      radii: radius of each region, [N].
      ratios: actual / predicted reduction of each step, [N]; minus infinity if the function was not finite.
      accepted: whether each step was accepted, bool [N].
    """

    x: NDArray[np.float64]
    status: TrustRegionStatus
    iterates: NDArray[np.float64]
    candidates: NDArray[np.float64]
    radii: NDArray[np.float64]
    ratios: NDArray[np.float64]
    accepted: NDArray[np.bool_]


def minimize_in_trust_regions(
    function: Callable[[NDArray[np.float64]], float],
    gradient: Callable[[NDArray[np.float64]], ArrayLike],
    hessian: Callable[[NDArray[np.float64]], ArrayLike],
    start: ArrayLike,
    *,
    solver: Solver = exact_step,
    settings: TrustRegionSettings | None = None,
) -> TrustRegionResult:
    """Minimise a smooth function by quadratic models, each trusted within a ball whose radius adapts to its success.

    Args:
      function: x [P] -> f(x).
      gradient: x [P] -> [P].
      hessian: x [P] -> [P, P], symmetric.
      start: first iterate, [P].
      solver: solver of the subproblem: `exact_step`, `cauchy_step` or `dogleg_step`.
      settings: thresholds and bounds; the classic ones by default.

    Returns:
      A `TrustRegionResult`. Except for rounding errors, f never increases from one iterate to the next.

    Source:
      Nocedal and Wright (2006), algorithm 4.1; lecture, "Primer: Trust-Region Methods", "If f~(x) ~ f(x_n*):
      increase delta, else: decrease delta".
    """
    settings = settings or TrustRegionSettings()
    x, radius = np.array(start, dtype=np.float64), settings.radius
    value = float(function(x))
    rows: list[tuple[NDArray[np.float64], NDArray[np.float64], float, float, bool]] = []
    while True:
        slope, curvature = np.asarray(gradient(x), np.float64), np.asarray(hessian(x), np.float64)
        if not (np.isfinite(value) and np.isfinite(slope).all() and np.isfinite(curvature).all()):
            return _result(x, TrustRegionStatus.NOT_FINITE, rows)
        step = solver(slope, curvature, radius)
        status = _reason_to_stop(slope, curvature, step, value, radius, len(rows), settings)
        if status is not None:
            return _result(x, status, rows)
        candidate = x + step.step
        candidate_value = float(function(candidate))
        ratio = _reduction_ratio(value, candidate_value, step.predicted_reduction)
        accepted = ratio > settings.accept_above
        rows.append((x, candidate, radius, ratio, accepted))
        radius = _next_radius(radius, ratio, float(np.linalg.norm(step.step)), settings)
        if accepted:
            x, value = candidate, candidate_value


def _reason_to_stop(
    slope: NDArray[np.float64],
    curvature: NDArray[np.float64],
    step: SubproblemStep,
    value: float,
    radius: float,
    tried: int,
    settings: TrustRegionSettings,
) -> TrustRegionStatus | None:
    if np.linalg.norm(slope) <= settings.gradient_tolerance:
        eigenvalues = np.linalg.eigvalsh(curvature)
        if eigenvalues[0] >= -settings.curvature_tolerance * np.abs(eigenvalues).max():
            return TrustRegionStatus.MINIMUM
        if step.predicted_reduction <= _rounding(value):
            return TrustRegionStatus.SADDLE_POINT
    if radius < settings.min_radius:
        return TrustRegionStatus.RADIUS_TOO_SMALL
    return TrustRegionStatus.MAX_ITERATIONS if tried >= settings.max_iterations else None


def _reduction_ratio(value: float, candidate_value: float, predicted: float) -> float:
    """Compute actual / predicted reduction, or 1 if both are below the rounding of f (Conn et al. 2000, 17.4.2)."""
    if not np.isfinite(candidate_value):
        return -np.inf
    return (value - candidate_value + _rounding(value)) / (predicted + _rounding(value))


def _rounding(value: float) -> float:
    return float(10 * np.finfo(np.float64).eps * max(1.0, abs(value)))


def _next_radius(radius: float, ratio: float, step_norm: float, settings: TrustRegionSettings) -> float:
    if ratio < settings.shrink_below:
        return radius * settings.shrink_factor
    # A step that ends inside the region does not show that the model is good beyond the boundary.
    if ratio > settings.expand_above and step_norm >= radius * (1.0 - 1e-9):
        return min(radius * settings.expand_factor, settings.max_radius)
    return radius


def _result(
    x: NDArray[np.float64],
    status: TrustRegionStatus,
    rows: list[tuple[NDArray[np.float64], NDArray[np.float64], float, float, bool]],
) -> TrustRegionResult:
    size = len(x)
    return TrustRegionResult(
        x=x,
        status=status,
        iterates=np.array([row[0] for row in rows]).reshape(-1, size),
        candidates=np.array([row[1] for row in rows]).reshape(-1, size),
        radii=np.array([row[2] for row in rows]),
        ratios=np.array([row[3] for row in rows]),
        accepted=np.array([row[4] for row in rows], dtype=bool),
    )

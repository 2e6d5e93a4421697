"""Minimise a quadratic model in a ball: exactly, along the gradient, and along a dogleg."""

from __future__ import annotations

import enum
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq


class StepStatus(enum.IntEnum):
    """Where the step ends, and why."""

    INTERIOR = 0
    """Inside the ball, at the minimum of the model over the solver's search space."""
    BOUNDARY = 1
    """On the boundary of the ball."""
    HARD_CASE = 2
    """On the boundary, with a component along the most negative curvature, to which the gradient is orthogonal."""
    NO_DESCENT = 3
    """The step is 0, because the solver finds no descent."""


class SubproblemStep(NamedTuple):
    """A step of the model m(p) = g'p + 1/2 p'Hp, |p| <= radius.

    Attributes:
      step: p, [P].
      predicted_reduction: m(0) - m(p), >= 0.
      status: a `StepStatus`.
    """

    step: NDArray[np.float64]
    predicted_reduction: float
    status: StepStatus


def exact_step(gradient: ArrayLike, hessian: ArrayLike, radius: float) -> SubproblemStep:
    """Compute the global minimum of the model in the ball, for any symmetric Hessian.

    p is the minimum if and only if (H + lambda I) p = -g for a lambda >= 0 with H + lambda I positive semi-definite
    and lambda (radius - |p|) = 0. In the eigenvectors of H, |p(lambda)|^2 is a sum of simple fractions that decreases
    with lambda, so that |p(lambda)| = radius is a scalar root problem. In the hard case, g has no component in the
    lowest eigenspace, |p| stays below the radius down to lambda = -lambda_1, and an eigenvector is added to reach the
    boundary.

    Args:
      gradient: g, [P].
      hessian: H, symmetric, [P, P].
      radius: radius of the ball, > 0.

    Raises:
      ValueError: radius is not positive.

    Source:
      More and Sorensen (1983); Nocedal and Wright (2006), theorem 4.1 and section 4.3; lecture, "subject to
      |x - c|_2 <= delta".
    """
    gradient, hessian = _model(gradient, hessian, radius)
    eigenvalues, eigenvectors = np.linalg.eigh(hessian)
    components = eigenvectors.T @ gradient
    lowest = eigenvalues[0]
    if lowest > 0 and np.linalg.norm(components / eigenvalues) <= radius:
        return _taken(gradient, hessian, eigenvectors @ (-components / eigenvalues), StepStatus.INTERIOR)
    # From here on lambda >= -lowest. The solver uses the shift lambda + lowest >= 0, which is accurate if it is tiny.
    gaps = eigenvalues - lowest
    in_lowest = gaps <= 1e-13 * np.abs(eigenvalues).max()
    gaps[in_lowest] = 0.0
    others = np.where(in_lowest, 0.0, -components / np.where(in_lowest, 1.0, gaps))
    if lowest <= 0 and not components[in_lowest].any() and np.linalg.norm(others) <= radius:
        return _hard_case(gradient, hessian, eigenvectors @ others, eigenvectors[:, 0], radius)
    shift = _shift_to_boundary(components, gaps, radius)
    step = eigenvectors @ (-components / (gaps + shift))
    # Rescaled, because the length has the rounding error of the scalar root.
    return _taken(gradient, hessian, step * (radius / np.linalg.norm(step)), StepStatus.BOUNDARY)


def cauchy_step(gradient: ArrayLike, hessian: ArrayLike, radius: float) -> SubproblemStep:
    """Compute the minimum of the model in the ball along steepest descent: the Cauchy point.

    Arguments and errors are as in `exact_step`.

    Source:
      Nocedal and Wright (2006), equations 4.11 and 4.12.
    """
    gradient, hessian = _model(gradient, hessian, radius)
    norm = np.linalg.norm(gradient)
    if norm == 0:
        return SubproblemStep(np.zeros_like(gradient), 0.0, StepStatus.NO_DESCENT)
    direction = -gradient / norm
    curvature = direction @ hessian @ direction
    if curvature <= 0 or norm >= radius * curvature:
        return _taken(gradient, hessian, radius * direction, StepStatus.BOUNDARY)
    return _taken(gradient, hessian, norm / curvature * direction, StepStatus.INTERIOR)


def dogleg_step(gradient: ArrayLike, hessian: ArrayLike, radius: float) -> SubproblemStep:
    """Compute the minimum of the model in the ball along the dogleg: down the gradient, then towards the Newton step.

    The dogleg needs a positive definite Hessian. If it is not, the result is the Cauchy point.

    Arguments and errors are as in `exact_step`.

    Source:
      Powell (1970); Nocedal and Wright (2006), equation 4.16.
    """
    gradient, hessian = _model(gradient, hessian, radius)
    if not gradient.any() or np.linalg.eigvalsh(hessian)[0] <= 0:
        return cauchy_step(gradient, hessian, radius)
    newton = np.asarray(np.linalg.solve(hessian, -gradient), np.float64)
    if np.linalg.norm(newton) <= radius:
        return _taken(gradient, hessian, newton, StepStatus.INTERIOR)
    unconstrained = -(gradient @ gradient) / (gradient @ hessian @ gradient) * gradient
    if np.linalg.norm(unconstrained) >= radius:
        return _taken(gradient, hessian, -radius / np.linalg.norm(gradient) * gradient, StepStatus.BOUNDARY)
    length = _length_to_boundary(unconstrained, newton - unconstrained, radius)
    return _taken(gradient, hessian, unconstrained + length * (newton - unconstrained), StepStatus.BOUNDARY)


def _shift_to_boundary(components: NDArray[np.float64], gaps: NDArray[np.float64], radius: float) -> float:
    """Find the shift at which the length of the step is the radius."""

    def norm(shift: float) -> float:
        return float(np.linalg.norm(components / (gaps + shift)))

    # |p| is at most |g| / shift, and at least |lowest components of g| / shift, which brackets the root.
    high = float(np.linalg.norm(components)) / radius
    low = max(float(np.linalg.norm(components[gaps == 0])) / radius, high * 1e-300)
    bracket = np.log(0.99 * low), np.log(1.01 * high)
    # 1 / |p| is nearly linear in the shift. The logarithm covers nearly hard cases, where the shift is tiny.
    return float(np.exp(brentq(lambda log: 1 / radius - 1 / norm(np.exp(log)), *bracket, xtol=1e-15)))


def _hard_case(
    gradient: NDArray[np.float64],
    hessian: NDArray[np.float64],
    step: NDArray[np.float64],
    lowest_eigenvector: NDArray[np.float64],
    radius: float,
) -> SubproblemStep:
    curvature = lowest_eigenvector @ hessian @ lowest_eigenvector
    # Without curvature, the eigenvector gains nothing, and the shortest minimum is as good as any other.
    if curvature >= -1e-14 * np.abs(hessian).max():
        return _taken(gradient, hessian, step, StepStatus.INTERIOR)
    length = _length_to_boundary(step, lowest_eigenvector, radius)
    return _taken(gradient, hessian, step + length * lowest_eigenvector, StepStatus.HARD_CASE)


def _length_to_boundary(start: NDArray[np.float64], direction: NDArray[np.float64], radius: float) -> float:
    """Compute the t >= 0 with |start + t direction| = radius, for |start| <= radius."""
    a, b, c = float(direction @ direction), float(start @ direction), radius**2 - float(start @ start)
    root = np.sqrt(b**2 + a * max(c, 0.0))
    # The formula for the root that does not subtract nearly equal numbers.
    return float(c / (b + root) if b > 0 else (root - b) / a)


def _model(gradient: ArrayLike, hessian: ArrayLike, radius: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if not radius > 0:
        raise ValueError(f"radius must be positive, got {radius}")
    return np.asarray(gradient, dtype=np.float64), np.asarray(hessian, dtype=np.float64)


def _taken(
    gradient: NDArray[np.float64], hessian: NDArray[np.float64], step: NDArray[np.float64], status: StepStatus
) -> SubproblemStep:
    reduction = float(-(gradient @ step) - 0.5 * step @ hessian @ step)
    return SubproblemStep(step, reduction, status if step.any() else StepStatus.NO_DESCENT)

"""Minimising a quadratic model in a ball: exactly, along the gradient, and along a dogleg."""

from __future__ import annotations

import enum
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq


class StepStatus(enum.IntEnum):
    """Where the step ends, and what kept it there."""

    INTERIOR = 0
    """Inside the ball: the model's own minimum along what was searched."""
    BOUNDARY = 1
    """On the boundary of the ball."""
    HARD_CASE = 2
    """On the boundary, with a part along the most negative curvature that the gradient does not see."""
    NO_DESCENT = 3
    """The step is 0: the solver sees no way down."""


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
    """Global minimum of the model in the ball, whether or not the Hessian is positive definite.

    p is the minimum if and only if (H + lambda I) p = -g for a lambda >= 0 with H + lambda I positive semi-definite
    and lambda (radius - |p|) = 0. In the eigenvectors of H, |p(lambda)| is a sum of simple fractions that falls in
    lambda, and its root on the boundary is one scalar solve. In the hard case g has no part in the lowest eigenspace,
    |p| stays below the radius all the way to lambda = -lambda_1, and an eigenvector makes up the rest.

    Args:
      gradient: g, [P].
      hessian: H, symmetric, [P, P].
      radius: > 0.

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
    # From here on lambda >= -lowest; the shift lambda + lowest >= 0 keeps its digits when it is tiny.
    gaps = eigenvalues - lowest
    in_lowest = gaps <= 1e-13 * np.abs(eigenvalues).max()
    gaps[in_lowest] = 0.0
    others = np.where(in_lowest, 0.0, -components / np.where(in_lowest, 1.0, gaps))
    if lowest <= 0 and not components[in_lowest].any() and np.linalg.norm(others) <= radius:
        return _hard_case(gradient, hessian, eigenvectors @ others, eigenvectors[:, 0], radius)
    shift = _shift_to_boundary(components, gaps, radius)
    step = eigenvectors @ (-components / (gaps + shift))
    # The scalar solve leaves rounding in the length.
    return _taken(gradient, hessian, step * (radius / np.linalg.norm(step)), StepStatus.BOUNDARY)


def cauchy_step(gradient: ArrayLike, hessian: ArrayLike, radius: float) -> SubproblemStep:
    """Minimum of the model in the ball along steepest descent: the Cauchy point.

    Arguments and errors as in `exact_step`.

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
    """Minimum of the model in the ball along the dogleg: down the gradient, then over to the Newton step.

    The dogleg needs a positive definite Hessian; where it is not, this is the Cauchy point.

    Arguments and errors as in `exact_step`.

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
    """The shift at which the step has the length of the radius."""

    def norm(shift: float) -> float:
        return float(np.linalg.norm(components / (gaps + shift)))

    # |p| <= |g| / shift, and >= the lowest part of g / shift: the root lies between the two, or on one of them.
    high = float(np.linalg.norm(components)) / radius
    low = max(float(np.linalg.norm(components[gaps == 0])) / radius, high * 1e-300)
    bracket = np.log(0.99 * low), np.log(1.01 * high)
    # 1 / |p| is nearly linear in the shift, and the logarithm spans a nearly hard case, where the shift is tiny.
    return float(np.exp(brentq(lambda log: 1 / radius - 1 / norm(np.exp(log)), *bracket, xtol=1e-15)))


def _hard_case(
    gradient: NDArray[np.float64],
    hessian: NDArray[np.float64],
    step: NDArray[np.float64],
    lowest_eigenvector: NDArray[np.float64],
    radius: float,
) -> SubproblemStep:
    curvature = lowest_eigenvector @ hessian @ lowest_eigenvector
    # Without curvature the eigenvector gains nothing, and the shortest of the minima is as good as any.
    if curvature >= -1e-14 * np.abs(hessian).max():
        return _taken(gradient, hessian, step, StepStatus.INTERIOR)
    length = _length_to_boundary(step, lowest_eigenvector, radius)
    return _taken(gradient, hessian, step + length * lowest_eigenvector, StepStatus.HARD_CASE)


def _length_to_boundary(start: NDArray[np.float64], direction: NDArray[np.float64], radius: float) -> float:
    """The t >= 0 with |start + t direction| = radius, for |start| <= radius."""
    a, b, c = float(direction @ direction), float(start @ direction), radius**2 - float(start @ start)
    root = np.sqrt(b**2 + a * max(c, 0.0))
    # Of the two forms of the root, the one that does not subtract nearly equal numbers.
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

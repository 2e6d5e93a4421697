"""Conjugate gradient for A x = b, with A given only as a product v -> A v."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import NamedTuple

from tf_trpo.lazy import tensorflow as tf


class ConjugateGradientStatus(enum.IntEnum):
    """Why the iteration ended."""

    CONVERGED = 0
    """|b - A x| <= tolerance * |b|."""
    MAX_ITERATIONS = 1
    """The iterations were used up; x is the best iterate of the Krylov space."""
    NON_POSITIVE_CURVATURE = 2
    """A direction p with p'Ap <= 0 came up: A is not positive definite. x is the iterate before it."""
    BREAKDOWN = 3
    """A product or a residual was not finite. x is the last finite iterate."""
    NOT_USED = 4
    """No system was solved: what an algorithm without conjugate gradient reports."""


class ConjugateGradientResult(NamedTuple):
    """Solution and how it came about.

    Attributes:
      solution: vector [P], x with A x ~ b.
      iterations: int32 scalar, the products A p whose step was taken.
      residual_norm: scalar, |b - A x| as the recurrence tracks it.
      status: int32 scalar, a `ConjugateGradientStatus`.
    """

    solution: tf.Tensor
    iterations: tf.Tensor
    residual_norm: tf.Tensor
    status: tf.Tensor


class _State(NamedTuple):
    x: tf.Tensor
    residual: tf.Tensor
    direction: tf.Tensor
    residual_squared: tf.Tensor
    iterations: tf.Tensor
    status: tf.Tensor


_RUNNING = -1


def conjugate_gradient(
    product: Callable[[tf.Tensor], tf.Tensor],
    b: tf.Tensor,
    *,
    max_iterations: int,
    tolerance: float = 1e-10,
) -> ConjugateGradientResult:
    """Solve A x = b for a symmetric positive (semi-)definite A, from x = 0.

    Starting at zero makes the result a function of (A, b) alone, and every iterate an ascent
    direction: b'x > 0 after one step, whatever the number of steps.

    Args:
      product: v [P] -> A v [P], linear and symmetric.
      b: right-hand side, float vector [P].
      max_iterations: at most this many products, >= 1.
      tolerance: relative residual |b - A x| / |b| to stop at, >= 0.

    Returns:
      A `ConjugateGradientResult`. The solution is finite whenever b is, whatever A does.

    Raises:
      ValueError: max_iterations < 1 or tolerance < 0.

    Source:
      Hestenes and Stiefel (1952); Shewchuk (1994), algorithm B2; lecture, "Conjugate Gradient (CG)
      computes F^-1 g approximately without forming F explicitly".
    """
    if max_iterations < 1:
        raise ValueError(f"max_iterations must be at least 1, got {max_iterations}")
    if not tolerance >= 0:
        raise ValueError(f"tolerance must not be negative, got {tolerance}")
    b_squared = _dot(b, b)
    goal = tf.constant(tolerance, b.dtype) ** 2 * b_squared

    def step(state: _State) -> tuple[_State]:
        return (_iterate(product, state, goal, max_iterations),)

    def running(state: _State) -> tf.Tensor:
        return tf.equal(state.status, _RUNNING)

    start_status = tf.where(
        tf.math.is_finite(b_squared),
        tf.where(b_squared <= goal, ConjugateGradientStatus.CONVERGED, _RUNNING),
        ConjugateGradientStatus.BREAKDOWN,
    )
    start = _State(tf.zeros_like(b), b, b, b_squared, tf.constant(0), start_status)
    (end,) = tf.while_loop(running, step, [start])
    return ConjugateGradientResult(end.x, end.iterations, tf.sqrt(end.residual_squared), end.status)


def _iterate(product: Callable[[tf.Tensor], tf.Tensor], state: _State, goal: tf.Tensor, max_iterations: int) -> _State:
    image = product(state.direction)
    curvature = _dot(state.direction, image)
    length = state.residual_squared / curvature
    x = state.x + length * state.direction
    residual = state.residual - length * image
    residual_squared = _dot(residual, residual)
    direction = residual + residual_squared / state.residual_squared * state.direction
    iterations = state.iterations + 1

    # Curvature is tested, not padded with an epsilon: an epsilon would silently bend every step.
    finite = tf.math.is_finite(curvature) & tf.math.is_finite(residual_squared) & tf.math.is_finite(_dot(x, x))
    failure = tf.where(
        tf.math.is_finite(curvature) & (curvature <= 0),
        int(ConjugateGradientStatus.NON_POSITIVE_CURVATURE),
        tf.where(finite, _RUNNING, int(ConjugateGradientStatus.BREAKDOWN)),
    )
    success = tf.where(
        residual_squared <= goal,
        int(ConjugateGradientStatus.CONVERGED),
        tf.where(iterations >= max_iterations, int(ConjugateGradientStatus.MAX_ITERATIONS), _RUNNING),
    )
    good = tf.equal(failure, _RUNNING)

    # A failed iteration keeps the last good iterate, so that the caller always has a usable direction.
    def keep(new: tf.Tensor, old: tf.Tensor) -> tf.Tensor:
        return tf.where(good, new, old)

    return _State(
        keep(x, state.x),
        keep(residual, state.residual),
        keep(direction, state.direction),
        keep(residual_squared, state.residual_squared),
        keep(iterations, state.iterations),
        tf.where(good, success, failure),
    )


def _dot(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(a * b)

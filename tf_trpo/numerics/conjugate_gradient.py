"""Conjugate gradient method for (A + damping I) x = b, where A is given as a product v -> A v."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import NamedTuple

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics.scalars import dot, scalar
from tf_trpo.numerics.shapes import check_shapes


class ConjugateGradientStatus(enum.IntEnum):
    """Why the iteration ended."""

    CONVERGED = 0
    """|b - (A + damping I) x| <= tolerance * |b|."""
    MAX_ITERATIONS = 1
    """The maximum number of iterations was reached. x is the best iterate of the Krylov space."""
    NON_POSITIVE_CURVATURE = 2
    """A direction p had p'(A + damping I) p <= 0, or a residual r had r'P^-1 r <= 0. x is the previous iterate."""
    BREAKDOWN = 3
    """A product or a residual was not finite. x is the last finite iterate."""


class ConjugateGradientResult(NamedTuple):
    """Solution of (A + damping I) x = b, and why the iteration ended.

    Attributes:
      solution: x, float [P].
      image: A x without damping, float [P], accumulated from the products of the iteration.
      iterations: number of steps taken, int32 scalar; each costs one product.
      residual_norm: |b - (A + damping I) x| by the recurrence, float scalar.
      status: int32 scalar, a `ConjugateGradientStatus`.
    """

    solution: tf.Tensor
    image: tf.Tensor
    iterations: tf.Tensor
    residual_norm: tf.Tensor
    status: tf.Tensor


class _State(NamedTuple):
    x: tf.Tensor
    image: tf.Tensor
    residual: tf.Tensor
    direction: tf.Tensor
    descent: tf.Tensor
    residual_squared: tf.Tensor
    iterations: tf.Tensor
    status: tf.Tensor


_RUNNING = -1


def conjugate_gradient(
    product: Callable[[tf.Tensor], tf.Tensor],
    b: tf.Tensor,
    *,
    max_iterations: int,
    damping: float | tf.Tensor = 0.0,
    tolerance: float | tf.Tensor = 1e-10,
    preconditioner: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> ConjugateGradientResult:
    """Solve (A + damping I) x = b for a symmetric positive (semi-)definite A, starting from x = 0.

    Because of this start, the result depends on A, b and P only, and every iterate after the first step is an ascent
    direction: b'x > 0.

    Args:
      product: v [P] -> A v [P], linear and symmetric.
      b: right-hand side, float [P].
      max_iterations: maximum number of products, >= 1.
      damping: number added to the diagonal of A, >= 0; a number or a float scalar.
      tolerance: relative residual at which the iteration stops, >= 0; a number or a float scalar.
      preconditioner: r [P] -> P^-1 r [P], linear, symmetric and positive definite. The closer P is to A + damping I,
        the fewer iterations are needed. None means the identity.

    Returns:
      A `ConjugateGradientResult`. If b is finite, the solution is finite for every A.

    Raises:
      ValueError: a shape is wrong, max_iterations < 1, or damping or tolerance < 0.

    Source:
      Hestenes and Stiefel (1952); Shewchuk (1994), algorithms B2 and B3; lecture, "Conjugate Gradient (CG)
      computes F^-1 g approximately without forming F explicitly".
    """
    check_shapes("conjugate_gradient", b=(b, "P"))
    if max_iterations < 1:
        raise ValueError(f"max_iterations must be at least 1, got {max_iterations}")
    for name, value in (("damping", damping), ("tolerance", tolerance)):
        if not tf.is_tensor(value) and not value >= 0:
            raise ValueError(f"{name} must not be negative, got {value}")
    b_squared = dot(b, b)
    damping, goal = scalar(damping, b.dtype), scalar(tolerance, tf.float64) ** 2 * b_squared

    start_status = tf.where(
        tf.math.is_finite(b_squared),
        tf.where(b_squared <= goal, ConjugateGradientStatus.CONVERGED, _RUNNING),
        ConjugateGradientStatus.BREAKDOWN,
    )
    zeros = tf.zeros_like(b)
    # The first iteration multiplies the direction 0 by a ratio of descents, which must be finite.
    start = _State(zeros, zeros, b, zeros, b_squared, b_squared, tf.constant(0), start_status)
    (end,) = tf.while_loop(
        lambda state: tf.equal(state.status, _RUNNING),
        lambda state: (_iterate(product, preconditioner, state, damping, goal, max_iterations),),
        [start],
    )
    residual_norm = tf.cast(tf.sqrt(end.residual_squared), b.dtype)
    return ConjugateGradientResult(end.x, end.image, end.iterations, residual_norm, end.status)


def _iterate(
    product: Callable[[tf.Tensor], tf.Tensor],
    preconditioner: Callable[[tf.Tensor], tf.Tensor] | None,
    state: _State,
    damping: tf.Tensor,
    goal: tf.Tensor,
    max_iterations: int,
) -> _State:
    ascent, descent = state.residual, state.residual_squared
    if preconditioner is not None:
        ascent = preconditioner(state.residual)
        check_shapes("conjugate_gradient", b=(state.residual, "P"), preconditioner=(ascent, "P"))
        descent = dot(state.residual, ascent)
    direction = ascent + tf.cast(descent / state.descent, ascent.dtype) * state.direction
    undamped = product(direction)
    check_shapes("conjugate_gradient", b=(direction, "P"), product=(undamped, "P"))
    damped = undamped + damping * direction
    curvature = dot(direction, damped)
    length = tf.cast(descent / curvature, direction.dtype)
    x = state.x + length * direction
    image = state.image + length * undamped
    residual = state.residual - length * damped
    # One reduction for both, since XLA makes three programs for each.
    both = tf.stack([residual, x])
    residual_squared, x_squared = tf.unstack(dot(both, both))
    iterations = state.iterations + 1

    # The curvature is tested, and no epsilon is added to it, which would silently change every step.
    finite = tf.math.is_finite(curvature) & tf.math.is_finite(residual_squared) & tf.math.is_finite(x_squared)
    failure = tf.where(
        tf.math.is_finite(curvature) & ((curvature <= 0) | (descent <= 0)),
        int(ConjugateGradientStatus.NON_POSITIVE_CURVATURE),
        tf.where(finite, _RUNNING, int(ConjugateGradientStatus.BREAKDOWN)),
    )
    success = tf.where(
        residual_squared <= goal,
        int(ConjugateGradientStatus.CONVERGED),
        tf.where(iterations >= max_iterations, int(ConjugateGradientStatus.MAX_ITERATIONS), _RUNNING),
    )
    good = tf.equal(failure, _RUNNING)
    # After a failed iteration, the last good iterate is kept, so that the caller always has a usable direction.
    new = _State(x, image, residual, direction, descent, residual_squared, iterations, success)
    last = state._replace(status=failure)
    return tf.nest.map_structure(lambda new, last: tf.where(good, new, last), new, last)

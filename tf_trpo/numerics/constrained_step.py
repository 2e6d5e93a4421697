"""Compute the step that maximises a linear gain within a trust region and linear constraints, in closed form."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics.scalars import scalar
from tf_trpo.numerics.shapes import check_shapes

MOST_CONSTRAINTS = 4
"""Maximum number of constraints of a step, since every subset of them is tried as the active set."""
_NO_DIRECTION = 1e-6
"""Relative squared length below which a direction depends linearly on others, up to float32 rounding."""
_PARALLEL = 1e-9
"""Relative length below which a projected vector counts as 0."""
_SLACK = 1e-9
"""Relative float64 rounding error that is allowed in a solution."""


class ConstrainedStep(NamedTuple):
    """The solution of the problem, and whether it exists.

    Attributes:
      coefficients: w, float64 [D]; 0 if there is no solution.
      feasible: bool scalar, whether a point within the trust region satisfies the constraints that are not ignored.
    """

    coefficients: tf.Tensor
    feasible: tf.Tensor


def constrained_step(
    gain: tf.Tensor, slopes: tf.Tensor, excess: tf.Tensor, metric: tf.Tensor, max_kl: float | tf.Tensor
) -> ConstrainedStep:
    """Maximise p'w subject to c + A w <= 0 and 1/2 w'Mw <= delta.

    The step is the sum of w_j y_j over D directions y_j of a policy's parameters. If the directions are F^-1 g and
    F^-1 b_i, no step in the whole parameter space is better. Achiam et al. solve the dual of this problem for one
    constraint. Here each subset of the constraints is tried as the active set. The maximiser for an active set has a
    closed form, and the best feasible one is the solution of the problem.

    Args:
      gain: p, float64 [D]: g'y_j, with the gradient g.
      slopes: A, float64 [C, D]: b_i'y_j, with the constraints' gradients b_i, 0 <= C <= 4. A row of zeros is
        ignored, even if its constraint is violated.
      excess: c, float64 [C], positive for a constraint that is violated at w = 0.
      metric: M, float64 [D, D]: y_j'F y_k, symmetric and positive semi-definite up to rounding. Directions that depend
        linearly on others are not used.
      max_kl: delta, in nats, > 0; a number or a float64 scalar.

    Returns:
      A `ConstrainedStep`. If an input is not finite, w is 0.

    Raises:
      ValueError: a shape is wrong, or there are more than 4 constraints.

    Source:
      Achiam et al. (2017), Constrained Policy Optimization, equations 10 to 13 and theorem 2.
    """
    shapes = {"gain": (gain, "D"), "slopes": (slopes, "C D"), "excess": (excess, "C"), "metric": (metric, "D D")}
    check_shapes("constrained_step", **shapes, max_kl=(max_kl, ""))
    if slopes.shape[0] > MOST_CONSTRAINTS:
        raise ValueError(f"constrained_step: at most {MOST_CONSTRAINTS} constraints, got {slopes.shape[0]}")
    given = [gain, slopes, excess, metric]
    sound = tf.reduce_all([tf.reduce_all(tf.math.is_finite(array)) for array in given])
    gain, slopes, excess, metric = (tf.where(sound, array, tf.zeros_like(array)) for array in given)
    # In coordinates z with w = W z, the trust region is a ball of this radius.
    basis = _orthonormal_basis(metric)
    radius = tf.sqrt(2.0 * scalar(max_kl, tf.float64))
    sizes = tf.norm(slopes @ basis, axis=1)
    rows = tf.math.divide_no_nan(slopes @ basis, sizes[:, None])
    levels = tf.math.divide_no_nan(-excess, sizes)
    nearest, free = _on_active(tf.linalg.matvec(basis, gain, transpose_a=True), rows, levels)
    reach = tf.sqrt(tf.maximum(radius**2 - tf.reduce_sum(nearest**2, axis=1), 0.0))
    points = nearest + reach[:, None] * free
    slack = _SLACK * (radius + tf.abs(levels))
    feasible = tf.reduce_all(points @ tf.transpose(rows) <= levels + slack, axis=1)
    feasible &= tf.norm(nearest, axis=1) <= radius * (1.0 + _SLACK)
    gains = tf.linalg.matvec(points @ tf.transpose(basis), gain)
    best = tf.argmax(tf.where(feasible, gains, tf.constant(-np.inf, tf.float64)))
    found = tf.reduce_any(feasible)
    # For points[best], XLA would search the whole program for the value of the index while it compiles: for a minute.
    coefficients = tf.linalg.matvec(basis, tf.gather(points, best))
    return ConstrainedStep(tf.where(found & sound, coefficients, tf.zeros_like(coefficients)), found)


def _orthonormal_basis(metric: tf.Tensor) -> tf.Tensor:
    """Compute W [D, D] with W'MW = I by Gram-Schmidt; the column of a direction that is not used is 0."""
    basis: list[tf.Tensor] = []
    for direction, own in zip(tf.unstack(tf.eye(metric.shape[0], dtype=metric.dtype)), tf.unstack(metric), strict=True):
        vector = direction
        for other in basis:
            vector -= tf.tensordot(other, tf.linalg.matvec(metric, vector), 1) * other
        size = tf.tensordot(vector, tf.linalg.matvec(metric, vector), 1)
        used = size > _NO_DIRECTION * tf.tensordot(direction, own, 1)
        basis.append(tf.where(used, vector / tf.sqrt(tf.where(used, size, 1.0)), tf.zeros_like(vector)))
    return tf.stack(basis, axis=1)


def _on_active(gain: tf.Tensor, rows: tf.Tensor, levels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """For each subset of constraints, find the points z where all of them are active: rows_i'z = levels_i.

    Args:
      gain: [D].
      rows: [C, D], each of length 1 or 0.
      levels: [C].

    Returns:
      The shortest such z, [2^C, D], and the unit vector in the set of such points along which the gain increases
      fastest, or 0 if the gain is constant there. If the set is empty, z is another point.
    """
    subsets = np.array(list(itertools.product((0.0, 1.0), repeat=rows.shape[0])))
    nearest = tf.zeros([len(subsets), gain.shape[0]], gain.dtype)
    free = nearest + gain
    basis: list[tf.Tensor] = []
    for place in range(rows.shape[0]):
        row, level = subsets[:, place, None] * rows[place], subsets[:, place] * levels[place]
        left = row
        for other in basis:
            left -= _dots(other, left) * other
        size = tf.norm(left, axis=1, keepdims=True)
        unit = tf.where(size > _PARALLEL, left / tf.where(size > _PARALLEL, size, 1.0), tf.zeros_like(left))
        nearest += tf.math.divide_no_nan(level[:, None] - _dots(row, nearest), size) * unit
        free -= _dots(unit, free) * unit
        basis.append(unit)
    size = tf.norm(free, axis=1, keepdims=True)
    rises = size > _PARALLEL * tf.norm(gain)
    return nearest, tf.where(rises, free / tf.where(rises, size, 1.0), tf.zeros_like(free))


def _dots(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(one * other, axis=1, keepdims=True)

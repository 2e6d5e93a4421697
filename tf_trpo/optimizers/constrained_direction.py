"""The direction of a step within constraints, and the line search along it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import (
    ConjugateGradientResult,
    ConstrainedStep,
    Limit,
    LineSearchResult,
    LineSearchStatus,
    constrained_step,
    scalar,
    step_length_for_kl,
)
from tf_trpo.numerics.scalars import dot
from tf_trpo.numerics.trust_region_step import is_above_rounding
from tf_trpo.optimizers.backtracking import Backtracking
from tf_trpo.optimizers.constraints import Constraint
from tf_trpo.optimizers.objective import Objective

Evaluate: TypeAlias = "Callable[[tf.Tensor], tuple[tf.Tensor, ...]]"
_CORRECTIONS = 6
"""Largest number of corrections of the linear models."""


class ConstrainedDirection(NamedTuple):
    """The full step under the constraints, and the figure that the line search must improve.

    Attributes:
      constraints: as given.
      step: the full step [P].
      restored: int64 scalar, index of the constraint whose figure is above its limit and must fall. If several are
        above, it is the one farthest from its limit. -1 if all figures are within their limits, and the surrogate must
        rise.
    """

    constraints: Sequence[Constraint]
    step: tf.Tensor
    restored: tf.Tensor | int = -1

    def search(
        self, backtracking: Backtracking, objective: Objective, evaluate: Evaluate, step: tf.Tensor, max_kl: tf.Tensor
    ) -> tuple[LineSearchResult, tuple[tf.Tensor, ...]]:
        """Search along the step for a candidate within the constraints.

        A figure that is above its limit may stay there, but it must not rise.

        Args:
          backtracking: the search.
          objective: at the old parameters.
          evaluate: as for `Backtracking.search`.
          step: the full step [P], or a fraction of it.
          max_kl: the limit on the KL, in nats.

        Returns:
          The result, whose improvement is that of the surrogate if the step was taken, and the constraints' figures at
          the result's parameters.
        """
        if not self.constraints:
            return backtracking.search(objective, evaluate, step, max_kl=max_kl), ()
        now = tuple(constraint.now for constraint in self.constraints)

        def evaluate_all(theta: tf.Tensor) -> tuple[tf.Tensor, ...]:
            improvement, kl, *others = evaluate(theta)
            figures = tuple(constraint.figure(theta) for constraint in self.constraints)
            falls = tf.stack(now) - tf.stack(figures)
            aim = tf.where(self.restored < 0, improvement, tf.gather(falls, tf.maximum(self.restored, 0)))
            return aim, kl, *figures, *figures, improvement, *others

        limits = [
            Limit(tf.maximum(constraint.now, tf.convert_to_tensor(constraint.largest, tf.float64)), constraint.refusal)
            for constraint in self.constraints
        ]
        carried = (*now, tf.constant(0.0, tf.float64))
        found = backtracking.search(objective, evaluate_all, step, max_kl=max_kl, limits=limits, carried=carried)
        figures, (improvement, *others) = found.figures[: len(now)], found.figures[len(now) :]
        taken = tf.equal(found.status, LineSearchStatus.ACCEPTED)
        improvement = tf.where(taken, improvement, found.improvement)
        return found._replace(improvement=improvement, figures=tuple(others)), figures


def constrained_direction(
    constraints: Sequence[Constraint],
    objective: Objective,
    solve: Callable[[tf.Tensor], ConjugateGradientResult],
    gradient: tf.Tensor,
    solution: ConjugateGradientResult,
    max_kl: float | tf.Tensor,
    *,
    damping: float | tf.Tensor,
    share: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> ConstrainedDirection:
    """Maximise the linear model of the surrogate, subject to the models of the KL and of the constraints.

    Without constraints, the step is x = F^-1 g, scaled so that the quadratic model of the KL equals max_kl. With
    constraints, it is the best linear combination of F^-1 g and all F^-1 b_i. If no combination satisfies the linear
    models of all constraints, the step reduces the figure that is farthest from its limit. The other figures must then
    stay within their limits, or not rise if they are above.

    The figures are then computed at this step. If one is above its limit there, the differences from the linear models
    are added to these models, and the problem is solved again, at most six times. If no step satisfies the corrected
    models, the trust region is reduced to a quarter, where the differences are a quarter, too. A policy within all
    limits can so move even at its anchor, where the KL has no gradient. Without corrections, a policy at a curved limit
    could not move along it.

    Args:
      constraints: at most 4.
      objective: at the old parameters.
      solve: right-hand side [P] -> solution of the damped linear system.
      gradient: g [P], gradient of the surrogate.
      solution: `solve(gradient)`.
      max_kl: limit on the KL, in nats.
      damping: damping of the linear system.
      share: the best step [P] within max_kl -> the fraction of max_kl, in (0, 1], that another limit allows. The
        problem is then solved within the smaller trust region, where the best step has another direction. None: no
        other limit.

    Source:
      Achiam et al. (2017), section 6 and algorithm 1; corrections: Nocedal and Wright (2006), section 18.3.
    """
    if not constraints:
        length = step_length_for_kl(solution.solution, solution.image, max_kl, damping=damping)
        return ConstrainedDirection(constraints, length * solution.solution)
    gradients = [gradient, *(constraint.gradient() for constraint in constraints)]
    solutions = [solution, *map(solve, gradients[1:])]
    directions, images = (
        tf.stack(rows) for rows in zip(*((each.solution, each.image) for each in solutions), strict=True)
    )
    gradients64, directions64, images64 = (
        tf.cast(rows, tf.float64) for rows in (tf.stack(gradients), directions, images)
    )
    gains = tf.matmul(gradients64, directions64, transpose_b=True)
    metric = tf.matmul(directions64, images64, transpose_b=True)
    metric = _with_damping((metric + tf.transpose(metric)) / 2.0, directions, images, damping)
    slopes, now = gains[1:], tf.stack([constraint.now for constraint in constraints])
    excess = now - tf.stack([tf.convert_to_tensor(constraint.largest, tf.float64) for constraint in constraints])
    distances = excess * tf.math.rsqrt(tf.linalg.diag_part(slopes[:, 1:]))
    # A figure without a gradient counts as being at distance 0.
    distances = tf.where(tf.math.is_finite(distances), distances, 0.0)
    farthest = tf.argmax(distances)
    restored = tf.where(tf.reduce_max(distances) > 0, farthest, -1)

    def step(coefficients: tf.Tensor) -> tf.Tensor:
        return tf.linalg.matvec(directions, tf.cast(coefficients, directions.dtype), transpose_a=True)

    def models(max_kl: float | tf.Tensor) -> _LinearModels:
        within_reach = constrained_step(gains[0], slopes, excess, metric, max_kl).feasible
        gain = tf.where(within_reach, gains[0], -tf.gather(slopes, farthest))
        levels = tf.where(within_reach, excess, tf.minimum(excess, 0.0))
        return _LinearModels(within_reach, gain, slopes, levels, metric, max_kl)

    if share is not None:
        max_kl *= share(step(models(max_kl).solved().coefficients))

    def changes(coefficients: tf.Tensor) -> tf.Tensor:
        theta = objective.theta + step(coefficients)
        return tf.stack([constraint.figure(theta) for constraint in constraints]) - now

    return ConstrainedDirection(constraints, step(_corrected(models(max_kl), changes)), restored)


class _LinearModels(NamedTuple):
    """The problem for the coefficients c [D] of D directions: maximise gain'c for slopes c + levels <= 0, c'Mc/2 <= KL.

    Attributes:
      within_reach: whether the gain is that of the surrogate; otherwise it is the fall of a figure above its limit.
      gain, slopes, levels, metric, max_kl: as for `constrained_step`.
    """

    within_reach: tf.Tensor
    gain: tf.Tensor
    slopes: tf.Tensor
    levels: tf.Tensor
    metric: tf.Tensor
    max_kl: float | tf.Tensor

    def solved(self, part: float | tf.Tensor = 1.0, bend: float | tf.Tensor = 0.0) -> ConstrainedStep:
        """Solve the problem within a part of max_kl, given how far the figures exceed the models at max_kl, `bend`."""
        # Both are quadratic in the step.
        excess = self.levels + part * bend
        found = constrained_step(self.gain, self.slopes, excess, self.metric, part * self.max_kl)
        # `constrained_step` ignores a figure without a gradient, although a shorter step may keep it within its limit.
        ignored = tf.reduce_all(self.slopes == 0, axis=1) & (self.levels <= 0) & (excess > 0)
        return found._replace(feasible=found.feasible & ~(self.within_reach & tf.reduce_any(ignored)))


def _corrected(models: _LinearModels, changes: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Solve the problem, and correct its models until the figures are within their limits, if they can be.

    Args:
      models: the linear models.
      changes: coefficients [D] -> changes of the figures, float64 [C].

    Returns:
      The coefficients [D].
    """
    is_within = models.within_reach & tf.reduce_all(models.levels <= 0)

    def correct(
        number: tf.Tensor, part: tf.Tensor, bend: tf.Tensor, coefficients: tf.Tensor, _: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        changed = changes(coefficients)
        excess = (changed - tf.linalg.matvec(models.slopes, coefficients)) / part
        bend = tf.maximum(bend, tf.where(tf.math.is_finite(excess), excess, 0.0))
        same, shorter = models.solved(part, bend), models.solved(part / 4.0, bend)
        shorten = ~same.feasible & models.within_reach
        can = tf.where(shorten, shorter.feasible, same.feasible)
        ends = tf.reduce_all(changed + models.levels <= 0) | ~(can | is_within)
        # Within the limits, some shorter step is good; half a step has a quarter of the KL.
        found = tf.where(shorten, tf.where(can, shorter.coefficients, coefficients / 2.0), same.coefficients)
        return number + 1, tf.where(shorten, part / 4.0, part), bend, tf.where(ends, coefficients, found), ends

    first = models.solved().coefficients
    start = tf.constant(0), tf.constant(1.0, tf.float64), tf.zeros_like(models.levels), first, tf.constant(False)
    *_, coefficients, _ = tf.while_loop(
        lambda number, part, bend, coefficients, ends: (number < _CORRECTIONS) & ~ends, correct, start
    )
    return coefficients


def _with_damping(metric: tf.Tensor, directions: tf.Tensor, images: tf.Tensor, damping: float | tf.Tensor) -> tf.Tensor:
    """Add damping to the metric, float64 [D, D], for the directions y whose curvature y'Fy is within rounding of 0.

    If the policy is almost deterministic, y'Fy may underflow to 0, or be negative by rounding. As in
    `step_length_for_kl`, the damped curvature then replaces it, so that a step exists and its length stays bounded.

    Args:
      metric: y_j'F y_k.
      directions, images: y and F y, float32 [D, P].
      damping: damping of the linear system that the directions solve.
    """
    added = scalar(damping, tf.float64) * dot(directions, directions)
    steep = is_above_rounding(dot(directions, images), added, directions.dtype)
    flat = tf.cast(tf.where(steep[:, None], tf.zeros_like(directions), directions), metric.dtype)
    return metric + scalar(damping, metric.dtype) * tf.matmul(flat, flat, transpose_b=True)

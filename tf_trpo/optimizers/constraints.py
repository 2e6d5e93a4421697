"""Constraints of a trust-region step besides the KL: the direction within them, and the search that keeps them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from tf_trpo.estimation import costs_of
from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import (
    ConjugateGradientResult,
    Limit,
    LineSearchResult,
    LineSearchStatus,
    constrained_step,
    step_length_for_kl,
)
from tf_trpo.optimizers.backtracking import Backtracking
from tf_trpo.optimizers.objective import Objective

Evaluate: TypeAlias = "Callable[[tf.Tensor], tuple[tf.Tensor, ...]]"


class Constraint(NamedTuple):
    """A figure of the policy that a step must not let rise above a limit.

    Attributes:
      gradient: function that returns the figure's gradient b [P] at the old parameters.
      figure: parameters [P] -> the figure, float64 scalar.
      now: the figure at the old parameters, float64 scalar.
      largest: the limit, a number or a float64 scalar.
      refusal: status of a candidate whose figure is larger.
    """

    gradient: Callable[[], tf.Tensor]
    figure: Callable[[tf.Tensor], tf.Tensor]
    now: tf.Tensor
    largest: float | tf.Tensor
    refusal: LineSearchStatus


def cost_constraints(objective: Objective, limits: Sequence[float]) -> list[Constraint]:
    """Limit the mean total of each cost in an episode.

    The figure is the cost per environment step: the mean total of the old policy's episodes divided by their mean
    length, plus the surrogate of the cost, which estimates the change.

    Source:
      Achiam et al. (2017), equation 10, with the undiscounted totals that the field's benchmarks limit.
    """
    costs = costs_of(objective.batch)
    constraints = []
    for place, limit in enumerate(limits):
        own = objective.with_samples(advantages=costs.advantages[..., place])
        now = costs.totals[place] / costs.length

        def figure(theta: tf.Tensor, own: Objective = own, now: tf.Tensor = now) -> tf.Tensor:
            return now + own.figures(theta).improvement

        largest = tf.constant(limit, tf.float64) / costs.length
        constraints.append(Constraint(own.gradient, figure, now, largest, LineSearchStatus.COST_ABOVE_LIMIT))
    return constraints


def anchor_constraint(objective: Objective, limit: float | tf.Tensor) -> Constraint:
    """Limit the mean KL(anchor || policy) over the samples, in nats."""
    own = objective.with_samples(old=objective.batch.anchor)

    def figure(theta: tf.Tensor) -> tf.Tensor:
        return own.figures(theta).kl

    now = figure(objective.theta)
    return Constraint(lambda: own.gradient(own.kl), figure, now, limit, LineSearchStatus.ANCHOR_KL_ABOVE_LIMIT)


class ConstrainedDirection(NamedTuple):
    """The full step within the constraints, and the figure that the line search must improve.

    Attributes:
      constraints: as given.
      step: [P].
      restored: int64 scalar, index of the constraint whose figure is above its limit and must fall; -1 if all figures
        are within their limits, and the surrogate must rise. Of several, it is the one whose limit is farthest away.
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
          step: the full step [P], or a part of it.
          max_kl: the limit on the KL, in nats.

        Returns:
          The result, with the improvement of the surrogate if the step was taken, and the constraints' figures at
          the result's parameters.
        """
        if not self.constraints:
            return backtracking.search(objective, evaluate, step, max_kl=max_kl), ()
        now = tuple(constraint.now for constraint in self.constraints)

        def evaluate_all(theta: tf.Tensor) -> tuple[tf.Tensor, ...]:
            improvement, kl, *others = evaluate(theta)
            figures = tuple(constraint.figure(theta) for constraint in self.constraints)
            falls = tf.stack(now) - tf.stack(figures)
            aim = tf.where(self.restored < 0, improvement, falls[tf.maximum(self.restored, 0)])
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
) -> ConstrainedDirection:
    """Find the step that raises the linear model of the surrogate most within the models of KL and constraints.

    Without constraints, it is x = F^-1 g, scaled so that the quadratic model of the KL equals max_kl. With them, it is
    the best combination of F^-1 g and all F^-1 b_i. If none keeps the linear models of all constraints within the
    limits, the step reduces the figure whose limit is farthest away, and keeps the others from rising above theirs.

    The curvature of the constraints is measured at this step, and added to the linear models for a second solution.
    Otherwise a policy at a curved limit could not move along it.

    Args:
      constraints: at most 4.
      objective: at the old parameters.
      solve: right-hand side [P] -> solution of the damped linear system.
      gradient: g [P], of the surrogate.
      solution: `solve(gradient)`.
      max_kl: in nats.
      damping: of the linear system.

    Source:
      Achiam et al. (2017), section 6 and algorithm 1; second solution: Nocedal and Wright (2006), section 18.3.
    """
    if not constraints:
        length = step_length_for_kl(solution.solution, solution.image, max_kl, damping=damping)
        return ConstrainedDirection(constraints, length * solution.solution)
    gradients = [gradient, *(constraint.gradient() for constraint in constraints)]
    solutions = [solution, *map(solve, gradients[1:])]
    directions = tf.stack([each.solution for each in solutions])
    images, gradients64, directions64 = (
        tf.cast(tf.stack(rows), tf.float64) for rows in ([each.image for each in solutions], gradients, directions)
    )
    gains = tf.matmul(gradients64, directions64, transpose_b=True)
    metric = tf.matmul(directions64, images, transpose_b=True)
    metric = (metric + tf.transpose(metric)) / 2.0
    slopes, now = gains[1:], tf.stack([constraint.now for constraint in constraints])
    excess = now - tf.stack([tf.convert_to_tensor(constraint.largest, tf.float64) for constraint in constraints])
    distances = excess * tf.math.rsqrt(tf.linalg.diag_part(slopes[:, 1:]))
    # A figure without a gradient counts as being at distance 0.
    distances = tf.where(tf.math.is_finite(distances), distances, 0.0)
    farthest = tf.argmax(distances)
    restored = tf.where(distances[farthest] > 0, farthest, -1)
    within_reach = constrained_step(gains[0], slopes, excess, metric, max_kl).feasible
    gain = tf.where(within_reach, gains[0], -slopes[farthest])
    levels = tf.where(within_reach, excess, tf.minimum(excess, 0.0))
    first = constrained_step(gain, slopes, levels, metric, max_kl).coefficients

    def step(coefficients: tf.Tensor) -> tf.Tensor:
        return tf.linalg.matvec(directions, tf.cast(coefficients, directions.dtype), transpose_a=True)

    reached = tf.stack([constraint.figure(objective.theta + step(first)) for constraint in constraints])
    bend = reached - now - tf.linalg.matvec(slopes, first)
    bend = tf.where(tf.math.is_finite(bend), tf.maximum(bend, 0.0), 0.0)
    second = constrained_step(gain, slopes, levels + bend, metric, max_kl)
    coefficients = tf.where(second.feasible, second.coefficients, first)
    return ConstrainedDirection(constraints, step(coefficients), restored)

"""Limits of a trust-region step in addition to the KL: on the totals of costs, and on the KL from an anchor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tf_trpo.estimation import Batch
from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import LineSearchStatus
from tf_trpo.optimizers.objective import Objective


def relative_excess(batch: Batch, limits: Sequence[float]) -> tf.Tensor:
    """Return the shares by which the mean totals of costs are above their limits, float64 [C]; 0 for a limit of 0."""
    largest = tf.constant(limits, tf.float64)
    return tf.math.divide_no_nan(batch.required_costs().totals - largest, tf.abs(largest))


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


def cost_constraints(objective: Objective, limits: Sequence[tf.Tensor]) -> list[Constraint]:
    """Limit the mean total of each cost over an episode to float64 scalars.

    The figure is the mean cost per environment step. It is the mean total of the old policy's episodes divided by their
    mean length, plus the surrogate of the cost, which estimates the change.

    Source:
      Achiam et al. (2017), equation 10, with undiscounted totals, which the usual benchmarks limit.
    """
    costs = objective.batch.required_costs()
    constraints = []
    for place, limit in enumerate(limits):
        own = objective.with_samples(advantages=costs.advantages[..., place])
        now = costs.totals[place] / costs.length

        def figure(theta: tf.Tensor, own: Objective = own, now: tf.Tensor = now) -> tf.Tensor:
            return now + own.figures(theta).improvement

        largest = limit / costs.length
        constraints.append(Constraint(own.gradient, figure, now, largest, LineSearchStatus.COST_ABOVE_LIMIT))
    return constraints


def anchor_constraint(objective: Objective, limit: float | tf.Tensor) -> Constraint:
    """Limit the mean KL(anchor || policy) over the samples, in nats."""
    own = objective.with_samples(old=objective.batch.anchor)

    def figure(theta: tf.Tensor) -> tf.Tensor:
        return own.figures(theta).kl

    now = figure(objective.theta)
    return Constraint(lambda: own.gradient(own.kl), figure, now, limit, LineSearchStatus.ANCHOR_KL_ABOVE_LIMIT)

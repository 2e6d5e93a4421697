"""Trust Region Policy Optimization: lines 7 to 9 of Algorithm 1."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import keras
import tensorflow as tf
from keras.optimizers.schedules import LearningRateSchedule

from tf_trpo.models import Policy
from tf_trpo.numerics import step_length_for_kl
from tf_trpo.optimizers.adaptive_radius import AdaptiveRadius
from tf_trpo.optimizers.backtracking import Backtracking
from tf_trpo.optimizers.natural_direction import NaturalDirection
from tf_trpo.optimizers.objective import FisherVectorProduct, Objective, PolicyFigures
from tf_trpo.optimizers.policy_optimizer import PolicyOptimizer, Proposal, require

Constraint = Literal["mean", "max"]
Radius = Literal["fixed", "adaptive"]
_LEAST_LIMIT = 1e-10
"""Of a schedule, in nats: with none at all there is no step, which would pass for one that cannot be computed."""


@keras.saving.register_keras_serializable(package="tf_trpo")
class TrustRegion(PolicyOptimizer):
    """Maximise the surrogate advantage subject to mean KL(old || new) <= max_kl.

    The direction is x ~ (F + damping I)^-1 g by conjugate gradient; its length makes the quadratic
    model of the KL, 1/2 x'Fx without damping, equal max_kl; the line search takes the first of
    ratio^j times that step that improves the surrogate and keeps the KL within max_kl. If there is
    none, the parameters stay as they are.

    The KL is the joint one over all action dimensions. An implementation that averages it over the d
    dimensions (sb3-contrib) has, at the same number, a trust region d times as large.

    With constraint="max" the limit is on the largest KL of a sampled state, as in the theory, instead of
    the mean one. The direction is the same; the full step is so long that the largest KL, taken for
    quadratic from where it is at the other constraint's full step, equals max_kl.

    With a Keras schedule for max_kl the limit follows it, by the number of steps so far, refused ones included, which
    is part of the state: long steps while there is much to learn, short ones when noise is what is left. With
    constraint="max", `keras.optimizers.schedules.PolynomialDecay(1.5, 488, 0.3)` goes from 1.5 to 0.3 in 488 steps.

    With radius="adaptive", max_kl is only the first limit. After each step the next one follows from
    rho, the actual improvement over the predicted one: a quarter of it if rho < 0.25 or no step was
    found, twice as much if rho > 0.75 and the step reached the boundary: it was not shortened, or its KL is
    as near to the limit as backtracking comes. It never leaves [min_radius, max_radius], and is part of the
    state. Thresholds and factors are settings: `AdaptiveRadius`.

    Args:
      max_kl: delta, in nats, > 0, or a `keras.optimizers.schedules.LearningRateSchedule` of it, which begins above 0
        (of floats: Keras' schedules round to the type of their first number); what falls below 1e-10 counts as that.
      constraint: "mean", or "max" over the sampled states.
      radius: "fixed" or "adaptive".
      min_radius, max_radius, shrink_below, expand_above, shrink_factor, expand_factor: as in
        `AdaptiveRadius`; max_kl is a number and lies between the radii if the radius adapts.
      cg_iterations: at most this many Fisher-vector products for the direction, >= 1.
      cg_damping: lambda >= 0, added to F's diagonal in the linear system only.
      cg_tolerance: relative residual at which conjugate gradient stops, >= 0.
      backtrack_ratio, max_backtracks: as in `Backtracking`.
      curvature_fraction: share of the samples that the Fisher-vector products are taken on, in (0, 1];
        gradient and line search always use all of them (appendix C of the paper uses 0.1).
      fisher_vector_product: "gauss-newton", or "double-backprop", its slower twin.

    Raises:
      ValueError: a setting outside its range.

    Source:
      Schulman et al. (2015), equations 11 and 12 and appendix C; lecture, Algorithm 1; the adaptive radius:
      Nocedal and Wright (2006), algorithm 4.1, and lecture, "Primer: Trust-Region Methods".
    """

    def __init__(
        self,
        max_kl: float | LearningRateSchedule = 0.01,
        *,
        constraint: Constraint = "mean",
        radius: Radius = "fixed",
        min_radius: float = 1e-5,
        max_radius: float = 0.1,
        shrink_below: float = 0.25,
        expand_above: float = 0.75,
        shrink_factor: float = 0.25,
        expand_factor: float = 2.0,
        cg_iterations: int = 15,
        cg_damping: float = 0.1,
        cg_tolerance: float = 1e-6,
        backtrack_ratio: float = 0.8,
        max_backtracks: int = 10,
        curvature_fraction: float = 1.0,
        fisher_vector_product: FisherVectorProduct = "gauss-newton",
    ) -> None:
        _check_first_limit(max_kl)
        require(constraint in ("mean", "max"), "constraint", "mean or max", constraint)
        require(radius in ("fixed", "adaptive"), "radius", "fixed or adaptive", radius)
        self.adaptive_radius = AdaptiveRadius(
            min_radius, max_radius, shrink_below, expand_above, shrink_factor, expand_factor
        )
        if radius == "adaptive":
            require(not _is_schedule(max_kl), "max_kl", "a number if the radius adapts", max_kl)
            self.adaptive_radius.check_start(max_kl)
        self.backtracking = Backtracking(backtrack_ratio, max_backtracks)
        self.natural_direction = NaturalDirection(
            cg_iterations, cg_damping, cg_tolerance, curvature_fraction, fisher_vector_product
        )
        self.max_kl: Any = max_kl
        self.constraint = constraint
        self.radius = radius
        self._adapted: tf.Variable | None = None
        self._steps: tf.Variable | None = None

    def make_state(self, policy: Policy) -> None:
        if self.radius == "adaptive":
            self._adapted = tf.Variable(self.max_kl, dtype=tf.float64, trainable=False)
        if _is_schedule(self.max_kl):
            self._steps = tf.Variable(0, dtype=tf.int64, trainable=False)

    @property
    def variables(self) -> list[Any]:
        return [variable for variable in (self._adapted, self._steps) if variable is not None]

    def propose(self, objective: Objective) -> Proposal:
        radius = self._radius()
        gradient = objective.gradient()
        solution, product = self.natural_direction.solve(objective, gradient)
        direction = solution.solution
        search = self.backtracking.search(
            objective,
            lambda theta: self._limited(objective.figures(theta)),
            self._full_step(objective, direction, product(direction), radius),
            max_kl=radius,
        )
        if self._adapted is not None:
            predicted = tf.reduce_sum(gradient * (search.theta - objective.theta))
            predicted = tf.cast(predicted, tf.float64)
            ratio = self.backtracking.backtrack_ratio
            self._adapted.assign(self.adaptive_radius.after(radius, predicted, search, ratio))
        if self._steps is not None:
            self._steps.assign_add(1)
        return Proposal(gradient, search, solution, radius=radius)

    def _radius(self) -> tf.Tensor | float:
        if self._adapted is not None:
            return tf.identity(self._adapted)
        if self._steps is not None:
            scheduled = self.max_kl(tf.identity(self._steps))
            return tf.maximum(tf.cast(scheduled, tf.float64), tf.constant(_LEAST_LIMIT, tf.float64))
        constant = self.radius == "fixed" and not _is_schedule(self.max_kl)
        require(constant, "policy optimizer", "built before its first step", self)
        return float(self.max_kl)

    def _full_step(
        self, objective: Objective, direction: tf.Tensor, curvature: tf.Tensor, radius: tf.Tensor | float
    ) -> tf.Tensor:
        step = step_length_for_kl(direction, curvature, radius) * direction
        if self.constraint == "mean":
            return step
        largest = objective.figures(objective.theta + step).max_kl_over_states
        # Where it overflows, backtracking finds the way.
        shorten = tf.math.is_finite(largest) & (largest > radius)
        within = tf.math.divide_no_nan(tf.convert_to_tensor(radius, tf.float64), largest)
        return tf.cast(tf.where(shorten, tf.sqrt(within), 1.0), step.dtype) * step

    def _limited(self, figures: PolicyFigures) -> tuple[tf.Tensor, ...]:
        """(improvement, the KL that is limited, and the figures that go along)."""
        limited = figures.kl if self.constraint == "mean" else figures.max_kl_over_states
        return figures.improvement, limited, *figures[1:]

    def get_config(self) -> dict[str, Any]:
        return {
            "max_kl": keras.saving.serialize_keras_object(self.max_kl),
            "constraint": self.constraint,
            "radius": self.radius,
            **dataclasses.asdict(self.adaptive_radius),
            **dataclasses.asdict(self.backtracking),
            **dataclasses.asdict(self.natural_direction),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TrustRegion:
        if isinstance(config.get("max_kl"), dict):
            config = {**config, "max_kl": keras.saving.deserialize_keras_object(config["max_kl"])}
        return cls(**config)


def _is_schedule(max_kl: Any) -> bool:
    return isinstance(max_kl, LearningRateSchedule)


def _check_first_limit(max_kl: Any) -> None:
    """Raise ValueError unless it is a limit that a first step can have."""
    first = float(max_kl(0) if _is_schedule(max_kl) else max_kl)
    require(0 < first < math.inf, "max_kl", "positive and finite", first)

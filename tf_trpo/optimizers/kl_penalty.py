"""The KL-penalised problem, which the trust region replaces: maximise L - C KL."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from tf_trpo.estimation import advantage_scale, largest_advantage
from tf_trpo.estimation import penalty_coefficient as theoretical_penalty
from tf_trpo.models import Policy
from tf_trpo.numerics import (
    ConjugateGradientResult,
    LineSearchResult,
    LineSearchStatus,
    minibatch_rows,
    minibatches_per_epoch,
    random_orders,
)
from tf_trpo.optimizers.backtracking import Backtracking
from tf_trpo.optimizers.natural_direction import NaturalDirection
from tf_trpo.optimizers.objective import FisherVectorProduct, Objective
from tf_trpo.optimizers.policy_optimizer import PolicyOptimizer, Proposal, require, was_taken
from tf_trpo.optimizers.vanilla_policy_gradient import ascend, climb

Penalty = Literal["fixed", "adaptive", "theory"]
PenaltySolver = Literal["newton", "first-order"]

_TOLERANCE = 1.5
"""The adapted C stays as it is while the KL is within this factor of its target."""
_DOUBLINGS = 20
"""The adapted C moves at most by so many, either way: without a gradient it would fall for ever."""


@keras.saving.register_keras_serializable(package="tf_trpo")
class KLPenalty(PolicyOptimizer):
    """Maximise L(theta) - C KL(old || theta), with the mean joint KL in nats.

    By "newton", L is taken for linear and the KL for quadratic, and the full step is (1/C) x with
    x ~ (F + damping I)^-1 g by conjugate gradient. Far from the old weights neither holds, so the line search
    takes the first of ratio^j times that step that improves L - C KL itself. By "first-order", a
    Keras optimizer climbs the penalised objective in minibatches, and a result that makes the policy's figures not
    finite is taken back. Neither limits the KL.

    C is in the unit of the surrogate for each nat. Here L is the mean over samples of the batch's own
    advantages; if they are normalised, a `penalty_coefficient` means the same in every environment: the KL of
    Newton's step is about R^2 / (2 C^2), R^2 <= 1 being the share of their variance that the policy's scores explain.

    - "fixed": C = penalty_coefficient.
    - "adaptive": starts there; doubled after a step that was shortened or refused, or whose KL is above
      1.5 target_kl, halved after one whose KL is below target_kl / 1.5. C is part of the state.
    - "theory": C = 4 epsilon gamma / (1 - gamma)^2 of the lower bound, epsilon = max |A| of the batch,
      unnormalised. The bound's L sums over unnormalised visits, 1 / (1 - gamma) in all, and its
      advantages are raw: it is L / (1 - gamma) times the scale of the advantages. In the units
      of L here, that makes 4 epsilon gamma / (1 - gamma) / scale. Steps are then tiny. The bound has the
      largest KL where this problem has the mean one, so that even this C guarantees no improvement.

    Args:
      penalty: which C.
      penalty_coefficient: C, or the first one, > 0.
      target_kl: that the adaptive C aims at, in nats, > 0.
      gamma: discount of the returns, for the C of the theory, in (0, 1); the agent's own.
      penalty_solver: "newton" or "first-order".
      backtrack_ratio, max_backtracks: as in `Backtracking`, if newton.
      penalty_epochs: passes over the batch, >= 1, if first-order.
      penalty_minibatch_size: samples of a minibatch, >= 1.
      optimizer: a Keras optimizer or its name; by default Adam with learning rate 3e-4.
      cg_iterations, cg_damping, cg_tolerance, curvature_fraction, fisher_vector_product: as in
        `NaturalDirection`, if newton.

    Raises:
      ValueError: a setting outside its range.

    Source:
      Schulman et al. (2015), equation 11 and appendix C; the adapted C: Schulman et al. (2017), section 4;
      lecture, "Solving the KL-penalized problem" and "iterative optimization with Newton's method".
    """

    def __init__(
        self,
        penalty: Penalty = "adaptive",
        *,
        penalty_coefficient: float = 5.0,
        target_kl: float = 0.01,
        gamma: float = 0.99,
        penalty_solver: PenaltySolver = "newton",
        backtrack_ratio: float = 0.8,
        max_backtracks: int = 10,
        penalty_epochs: int = 10,
        penalty_minibatch_size: int = 128,
        optimizer: keras.optimizers.Optimizer | str | None = None,
        cg_iterations: int = 15,
        cg_damping: float = 0.1,
        cg_tolerance: float = 1e-6,
        curvature_fraction: float = 1.0,
        fisher_vector_product: FisherVectorProduct = "gauss-newton",
    ) -> None:
        require(penalty in ("fixed", "adaptive", "theory"), "penalty", "fixed, adaptive or theory", penalty)
        usable = 0 < penalty_coefficient < math.inf
        require(usable, "penalty_coefficient", "positive and finite", penalty_coefficient)
        require(0 < target_kl < math.inf, "target_kl", "positive and finite", target_kl)
        # Without the theory nothing depends on gamma, and an undiscounted agent may use the others.
        require(penalty != "theory" or 0 < gamma < 1, "gamma", "in (0, 1)", gamma)
        require(penalty_solver in ("newton", "first-order"), "penalty_solver", "newton or first-order", penalty_solver)
        self.backtracking = Backtracking(backtrack_ratio, max_backtracks)
        require(penalty_epochs >= 1, "penalty_epochs", "at least 1", penalty_epochs)
        require(penalty_minibatch_size >= 1, "penalty_minibatch_size", "at least 1", penalty_minibatch_size)
        self.natural_direction = NaturalDirection(
            cg_iterations, cg_damping, cg_tolerance, curvature_fraction, fisher_vector_product
        )
        self.penalty = penalty
        self.penalty_coefficient = penalty_coefficient
        self.target_kl = target_kl
        self.gamma = gamma
        self.penalty_solver = penalty_solver
        self.penalty_epochs = penalty_epochs
        self.penalty_minibatch_size = penalty_minibatch_size
        self.optimizer = keras.optimizers.get(optimizer or keras.optimizers.Adam(3e-4))
        self._adapted: tf.Variable | None = None

    def make_state(self, policy: Policy) -> None:
        if self.penalty == "adaptive":
            self._adapted = tf.Variable(self.penalty_coefficient, dtype=tf.float64, trainable=False)
        if self.penalty_solver == "first-order":
            self.optimizer.build(policy.trainable_variables)

    @property
    def variables(self) -> list[Any]:
        adapted = [] if self._adapted is None else [self._adapted]
        return [*adapted, *(self.optimizer.variables if self.penalty_solver == "first-order" else [])]

    def propose(self, objective: Objective) -> Proposal:
        gradient = objective.gradient()
        coefficient = self._coefficient(objective)
        solution = None
        if self.penalty_solver == "newton":
            search, solution = self._newton(objective, gradient, coefficient)
        else:
            search = climb(objective, self.optimizer, lambda: self._first_order(objective, gradient, coefficient))
        if self._adapted is not None:
            self._adapted.assign(self._adapt(coefficient, search))
        return Proposal(gradient, search, solution, penalty_coefficient=coefficient)

    def _coefficient(self, objective: Objective) -> tf.Tensor:
        """C in the units of the batch's advantages, float64."""
        if self.penalty == "theory":
            theoretical = theoretical_penalty(largest_advantage(objective.batch), self.gamma)
            unit = advantage_scale(objective.batch) / (1.0 - self.gamma)
            return theoretical / unit
        if self.penalty == "adaptive":
            require(self._adapted is not None, "policy optimizer", "built before its first step", self)
            return tf.identity(self._adapted)
        return tf.constant(self.penalty_coefficient, tf.float64)

    def _newton(
        self, objective: Objective, gradient: tf.Tensor, coefficient: tf.Tensor
    ) -> tuple[LineSearchResult, ConjugateGradientResult]:
        def penalised(theta: tf.Tensor) -> tuple[tf.Tensor, ...]:
            figures = objective.figures(theta)
            return figures.improvement - coefficient * figures.kl, figures.kl, *figures[1:]

        solution, _ = self.natural_direction.solve(objective, gradient)
        # The theory's C is 0 only if every advantage is, and then so is the direction.
        step = tf.math.divide_no_nan(solution.solution, tf.cast(coefficient, gradient.dtype))
        found = self.backtracking.search(objective, penalised, step, max_kl=math.inf)
        return found._replace(improvement=found.improvement + coefficient * found.kl), solution

    def _first_order(self, objective: Objective, gradient: tf.Tensor, coefficient: tf.Tensor) -> None:
        num_samples = objective.batch.weights.shape[0]
        size = min(self.penalty_minibatch_size, num_samples)
        # The same orders in every step: what their rows hold is new in every batch.
        orders = tf.constant(random_orders(self.penalty_epochs, num_samples, np.random.default_rng(0)))

        def minibatch_step(step: tf.Tensor) -> tuple[tf.Tensor]:
            rows, counted = minibatch_rows(orders, step, size)
            theta = objective.policy.flat_weights
            ascend(self.optimizer, objective.policy, objective.penalised_gradient(theta, coefficient, rows, counted))
            return (step + 1,)

        steps = self.penalty_epochs * minibatches_per_epoch(num_samples, size)
        # A batch that is not finite as a whole is left alone, though some of its minibatches may be.
        steps = tf.where(tf.reduce_all(tf.math.is_finite(gradient)), steps, 0)
        tf.while_loop(lambda step: step < steps, minibatch_step, [tf.constant(0)])

    def _adapt(self, coefficient: tf.Tensor, search: LineSearchResult) -> tf.Tensor:
        nothing = tf.equal(search.status, int(LineSearchStatus.NO_DIRECTION))
        refused = ~nothing & ~was_taken(search)
        too_far = refused | (search.backtracks > 0) | (search.kl > _TOLERANCE * self.target_kl)
        too_near = search.kl < self.target_kl / _TOLERANCE
        factor = tf.where(too_far, 2.0, tf.where(too_near & ~nothing, 0.5, 1.0))
        limits = (self.penalty_coefficient * 2.0**power for power in (-_DOUBLINGS, _DOUBLINGS))
        return tf.clip_by_value(coefficient * tf.cast(factor, tf.float64), *limits)

    def get_config(self) -> dict[str, Any]:
        return {
            "penalty": self.penalty,
            "penalty_coefficient": self.penalty_coefficient,
            "target_kl": self.target_kl,
            "gamma": self.gamma,
            "penalty_solver": self.penalty_solver,
            **dataclasses.asdict(self.backtracking),
            "penalty_epochs": self.penalty_epochs,
            "penalty_minibatch_size": self.penalty_minibatch_size,
            "optimizer": keras.saving.serialize_keras_object(self.optimizer),
            **dataclasses.asdict(self.natural_direction),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> KLPenalty:
        return cls(**{**config, "optimizer": keras.saving.deserialize_keras_object(config["optimizer"])})

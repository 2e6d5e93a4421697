"""First-order steps with a Keras optimizer, and their settings for the KL-penalised problem."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import (
    LineSearchResult,
    LineSearchStatus,
    minibatch_rows,
    minibatch_size_of,
    minibatches_per_epoch,
    random_orders,
    scalar,
    unflatten,
)
from tf_trpo.optimizers.objective import Objective, Samples, Value
from tf_trpo.optimizers.policy_optimizer import without_line_search
from tf_trpo.ranges import require_allowed

if TYPE_CHECKING:
    import keras

    from tf_trpo.models import Policy


@dataclasses.dataclass(frozen=True)
class FirstOrder:
    """Maximise the penalised objective L - C KL with Adam, in minibatches.

    Raises:
      ValueError: a setting is outside its range.
    """

    penalty_epochs: int = 10
    """Passes over the batch, in [1, 10000]."""
    penalty_minibatch_size: int = 128
    """Samples per minibatch, at least 1."""
    penalty_learning_rate: float = 3e-4
    """Learning rate of Adam, positive and finite."""

    def __post_init__(self) -> None:
        require_allowed(self, penalty_epochs="[1, 10000]", penalty_minibatch_size="[1, inf)")
        require_allowed(self, penalty_learning_rate="(0, inf)")

    def search(
        self,
        objective: Objective,
        optimizer: keras.optimizers.Optimizer,
        gradient: tf.Tensor,
        coefficient: tf.Tensor,
    ) -> LineSearchResult:
        """Maximise the penalised objective, starting from the old parameters.

        Args:
          objective, optimizer, gradient: as for `climb_in_minibatches`.
          coefficient: C, float64 scalar.

        Returns:
          The result of `climb`.
        """

        def penalised(new: tf.Tensor, samples: Samples) -> tf.Tensor:
            return objective.improvement(new, samples) - coefficient * objective.kl(new, samples)

        passes = {"epochs": self.penalty_epochs, "minibatch_size": self.penalty_minibatch_size}
        return climb_in_minibatches(objective, optimizer, gradient, penalised, **passes)


def climb_in_minibatches(
    objective: Objective,
    optimizer: keras.optimizers.Optimizer,
    gradient: tf.Tensor,
    value: Value,
    *,
    epochs: int,
    minibatch_size: int,
    max_gradient_norm: float | tf.Tensor | None = None,
    target_kl: float | tf.Tensor | None = None,
) -> LineSearchResult:
    """Maximise a value in minibatches with a Keras optimizer.

    Args:
      objective: at the old parameters, with a static number of samples.
      optimizer: built on the policy's variables.
      gradient: of the surrogate at the old parameters [P]; if it is not finite, no step is taken.
      value: the value to maximise.
      epochs: passes over the batch, >= 1.
      minibatch_size: samples per minibatch, >= 1; a minibatch of segments has at least one.
      max_gradient_norm: minibatch gradients with a larger norm are scaled down to this; None for no limit.
      target_kl: stop before the next pass if the mean KL over the batch, in nats, is above this; None to never stop.

    Returns:
      The result of `climb`.
    """
    num_samples = objective.batch.weights.shape[0]
    size = minibatch_size_of(objective.batch.weights.shape, minibatch_size)
    per_epoch = minibatches_per_epoch(num_samples, size)
    # The orders may be the same in every step, because every batch has new samples.
    orders = tf.constant(random_orders(epochs, num_samples, np.random.default_rng(0)))
    # If the gradient of the whole batch is not finite, no step is taken, even where a minibatch's gradient is finite.
    steps = tf.where(tf.reduce_all(tf.math.is_finite(gradient)), epochs * per_epoch, 0)

    def minibatch_step(step: tf.Tensor, near: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        rows, counted = minibatch_rows(orders, step, size)
        uphill = objective.minibatch_gradient(value, objective.policy.flat_weights, rows, counted)
        if max_gradient_norm is not None:
            uphill = tf.clip_by_norm(uphill, scalar(max_gradient_norm, uphill.dtype))
        ascend(optimizer, objective.policy, uphill)
        step += 1
        if target_kl is not None:
            near = tf.cond(tf.equal(step % per_epoch, 0) & (step < steps), is_near, lambda: near)
        return step, near

    def is_near() -> tf.Tensor:
        return objective.figures(objective.policy.flat_weights).kl <= target_kl

    start = [tf.constant(0), tf.constant(True)]
    return climb(
        objective, optimizer, lambda: tf.while_loop(lambda step, near: near & (step < steps), minibatch_step, start)
    )


def climb(objective: Objective, optimizer: keras.optimizers.Optimizer, move: Callable[[], object]) -> LineSearchResult:
    """Move the policy's weights with a built Keras optimizer, and check the new weights.

    Args:
      objective: at the old parameters.
      optimizer: its variables are restored if they or the policy's figures are not finite afterwards.
      move: moves the policy's weights with the optimizer.

    Returns:
      The result of `without_line_search` for the new weights.
    """
    before = [tf.identity(variable.value) for variable in optimizer.variables]
    move()
    floats = [v.value for v in optimizer.variables if tf.as_dtype(v.dtype).is_floating]
    sound = tf.reduce_all([tf.reduce_all(tf.math.is_finite(value)) for value in floats])
    candidate = objective.policy.flat_weights
    search = without_line_search(objective, tf.where(sound, candidate, tf.constant(math.nan, candidate.dtype)))
    broken = tf.equal(search.status, int(LineSearchStatus.NOT_FINITE))
    for variable, value in zip(optimizer.variables, before, strict=True):
        variable.assign(tf.where(broken, value, variable.value))
    return search


def ascend(optimizer: keras.optimizers.Optimizer, policy: Policy, gradient: tf.Tensor) -> None:
    """Take one ascent step along the gradient [P] with a built Keras optimizer, or none if it is not finite."""
    variables = policy.trainable_variables

    def apply() -> tf.Tensor:
        optimizer.apply(unflatten(-gradient, variables), variables)
        return tf.constant(True)

    # Adam's moments would never recover from an infinite gradient.
    tf.cond(tf.reduce_all(tf.math.is_finite(gradient)), apply, lambda: tf.constant(False))

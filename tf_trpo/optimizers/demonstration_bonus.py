"""The demonstration bonus: the log-likelihood of demonstrated actions, with a weight that decays from step to step."""

from __future__ import annotations

import dataclasses
import operator
from typing import Any, TypeAlias

from tf_trpo.estimation import weighted_mean
from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import is_positive, reduce_over_chunks, scalar
from tf_trpo.optimizers.objective import AddedTerm, Objective, PolicyFigures
from tf_trpo.optimizers.policy_optimizer import State
from tf_trpo.ranges import require_allowed


@dataclasses.dataclass(frozen=True, eq=False)
class Shown:
    """M demonstrated samples.

    Attributes:
      observations: a nest of arrays [M, ...].
      actions: in the form that the policy samples, [M, ...].
    """

    observations: Any
    actions: Any


_Samples: TypeAlias = tuple[Any, Any]
"""Observations and actions of M samples, or of a chunk of them."""


@dataclasses.dataclass(frozen=True)
class DemonstrationBonus:
    """Bonus for demonstrated actions: maximise L(new) - L(old) + w_k (D(new) - D(old)).

    D is the mean log pi(a|s) over the demonstrated samples, in nats. In step k, counted from 0, the weight is w_k =
    demonstration_weight demonstration_decay^k max A, where max A is the largest advantage of the batch, at least 0. L
    is a mean over the batch. So with demonstration_weight 1, all demonstrations together count as much at first as a
    whole batch of the policy's best actions, and less later. The paper sums over both sets instead, so that each
    demonstrated action counts as much as the policy's best one.

    Raises:
      ValueError: a setting is outside its range.

    Source:
      Rajeswaran et al. (2018), "Learning Complex Dexterous Manipulation with Deep Reinforcement Learning and
      Demonstrations", equation 6 (DAPG).
    """

    demonstration_weight: float = 0.0
    """Initial weight lambda_0 of the bonus, zero or positive; 0: no bonus. The demonstrations are those of
    `--demonstrations`, or of `TRPO.imitate`."""
    demonstration_decay: float = 0.95
    """Factor lambda_1 on the weight after each step, in (0, 1]."""

    def __post_init__(self) -> None:
        require_allowed(self, demonstration_weight="[0, inf)", demonstration_decay="(0, 1]")

    @property
    def counts(self) -> bool:
        """Whether the bonus has a weight above 0."""
        return is_positive(self.demonstration_weight)

    def rising(self, objective: Objective, state: State) -> AddedTerm:
        """Return the bonus as a term of the objective, and increment the step counter.

        Raises:
          ValueError: the state holds no demonstrations.
        """
        if state.shown is None:
            raise ValueError("demonstration_weight must be 0 unless demonstrations are given: call agent.imitate")
        shown = tf.nest.map_structure(tf.convert_to_tensor, (state.shown.observations, state.shown.actions))
        weight = self._weight(objective, tf.identity(state.steps))
        state.steps.assign_add(1)
        before = _mean_log_prob(objective, shown, objective.theta)

        def gain(theta: tf.Tensor, figures: PolicyFigures) -> tf.Tensor:
            return weight * (_mean_log_prob(objective, shown, theta) - before)

        return AddedTerm(tf.cast(weight, objective.theta.dtype) * _gradient(objective, shown), gain)

    def _weight(self, objective: Objective, step: tf.Tensor) -> tf.Tensor:
        samples = objective.samples
        largest = tf.maximum(tf.reduce_max(tf.where(samples.weights > 0, samples.advantages, 0.0)), 0.0)
        decayed = scalar(self.demonstration_decay, tf.float64) ** tf.cast(step, tf.float64)
        return scalar(self.demonstration_weight, tf.float64) * decayed * tf.cast(largest, tf.float64)


def _mean_log_prob(objective: Objective, shown: _Samples, theta: tf.Tensor) -> tf.Tensor:
    """Compute D at the policy parameters theta [P], float64 scalar."""
    return _over(objective, shown, lambda *chunk: _of_chunk(objective, theta, *chunk), tf.constant(0.0, tf.float64))


def _gradient(objective: Objective, shown: _Samples) -> tf.Tensor:
    """Compute the gradient [P] of D at the old parameters."""
    theta = objective.theta

    def on_chunk(samples: _Samples, weights: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(theta)
            value = _of_chunk(objective, theta, samples, weights)
        return tape.gradient(value, theta, unconnected_gradients="zero")

    return _over(objective, shown, on_chunk, tf.zeros_like(theta))


def _of_chunk(objective: Objective, theta: tf.Tensor, samples: _Samples, weights: tf.Tensor) -> tf.Tensor:
    observations, actions = samples
    parameters = tf.cast(objective.policy.parameters_at(theta, observations), tf.float64)
    actions = tf.cast(actions, tf.float64) if actions.dtype.is_floating else actions
    return weighted_mean(objective.policy.action_distribution.log_prob(parameters, actions), weights)


def _over(objective: Objective, shown: _Samples, function: Any, initial: tf.Tensor) -> tf.Tensor:
    """Sum the function's results over all chunks."""
    count = shown[1].shape[0]
    weights = tf.fill([count], tf.constant(1.0 / count, tf.float64))
    return reduce_over_chunks(function, operator.add, initial, shown, weights, objective.chunk_size)

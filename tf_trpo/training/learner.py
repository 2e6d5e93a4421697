"""One iteration after collection, as one compiled call: from a rollout to new models and metrics."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tf_trpo.estimation import (
    Batch,
    Moments,
    advantage_moments,
    discounted_return_so_far,
    explained_variance,
    gae,
    lambda_returns,
    normalize_advantages,
    rewards_to_go,
    weighted_mean,
    weighted_moments,
    winsorize,
)
from tf_trpo.models import Policy, PolicyAverage, RunningReturnScale, ValueFunction
from tf_trpo.numerics import map_over_chunks, random_orders
from tf_trpo.optimizers import PolicyOptimizer
from tf_trpo.rollouts import Rollout
from tf_trpo.training.update_metrics import Metrics, bound_metrics, outcome_metrics
from tf_trpo.training.value_regression import fit_value_function

ValueTarget = Literal["lambda-return", "reward-to-go"]
Update = Callable[[Rollout, tf.Tensor, tf.Tensor], tuple[Metrics, tf.Tensor]]


@dataclasses.dataclass(frozen=True)
class UpdateSettings:
    """How a rollout becomes advantages and value targets, and how the value function is fitted.

    Attributes:
      gamma: discount, in [0, 1].
      gae_lambda: lambda of the advantage estimates, in [0, 1].
      normalize_advantages: shift and scale them to mean 0 and standard deviation 1 over the batch.
      advantage_clip: cut the policy's advantages at so many standard deviations from their mean over the batch, > 0;
        see `winsorize`. Value targets are not. The lower bound's epsilon, in `bound/...` and in the penalty of the
        theory, is the largest of what is left. By default nothing is cut.
      normalize_rewards: divide rewards by the running standard deviation of the discounted return.
      value_target: regress on "lambda-return" (A + V) or "reward-to-go" (Algorithm 1, line 5).
      value_function_first: fit the value function before the policy's step, and take the step's advantages by the
        fitted one, which has seen the batch: less noise, more bias, since a fit that comes nearer to its targets
        leaves less of an advantage. The figures of the lower bound, `bound/...`, are by the same advantages. By default
        both use the one that collected.
      value_epochs: passes over the batch, >= 0.
      value_minibatch_size: samples of a minibatch, >= 1.
      chunk_size: samples that are in memory at once, with all that the networks make of them, >= 1.
        Larger batches are processed in chunks, with the same result up to rounding.
    """

    gamma: float = 0.99
    gae_lambda: float = 0.95
    normalize_advantages: bool = True
    advantage_clip: float | None = None
    normalize_rewards: bool = True
    value_target: ValueTarget = "lambda-return"
    value_function_first: bool = False
    value_epochs: int = 10
    value_minibatch_size: int = 128
    chunk_size: int = 32_768

    def __post_init__(self) -> None:
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"gamma must lie in [0, 1], got {self.gamma}")
        if not 0 <= self.gae_lambda <= 1:
            raise ValueError(f"gae_lambda must lie in [0, 1], got {self.gae_lambda}")
        if self.advantage_clip is not None and not 0 < self.advantage_clip < math.inf:
            raise ValueError(f"advantage_clip must be positive and finite, got {self.advantage_clip}")
        if self.value_target not in ("lambda-return", "reward-to-go"):
            raise ValueError(f'value_target must be "lambda-return" or "reward-to-go", got {self.value_target!r}')
        if self.value_epochs < 0:
            raise ValueError(f"value_epochs must not be negative, got {self.value_epochs}")
        if self.value_function_first and self.value_epochs == 0:
            raise ValueError("value_function_first needs a fit of the value function: value_epochs of at least 1")
        if self.value_minibatch_size < 1:
            raise ValueError(f"value_minibatch_size must be at least 1, got {self.value_minibatch_size}")
        if self.chunk_size < 1:
            raise ValueError(f"chunk_size must be at least 1, got {self.chunk_size}")


class Learner:
    """Everything that an iteration changes, and the compiled function that changes it.

    Args:
      policy: moved by the policy optimizer.
      value_function: fitted by the value optimizer.
      return_scale: running scale of the rewards.
      policy_optimizer: turns (policy, batch) into new parameters.
      value_optimizer: a Keras optimizer, built on the value function.
      settings: the rest.
      policy_average: follows the policy, if there is one.
      jit_compile: compile the stages of the update by XLA.
    """

    def __init__(
        self,
        policy: Policy,
        value_function: ValueFunction,
        return_scale: RunningReturnScale,
        policy_optimizer: PolicyOptimizer,
        value_optimizer: keras.optimizers.Optimizer,
        settings: UpdateSettings,
        *,
        policy_average: PolicyAverage | None = None,
        jit_compile: bool = True,
    ) -> None:
        self._policy = policy
        self._value_function = value_function
        self._return_scale = return_scale
        self._policy_optimizer = policy_optimizer
        self._value_optimizer = value_optimizer
        self._settings = settings
        self._policy_average = policy_average
        compiled = functools.partial(tf.function, jit_compile=jit_compile, autograph=False)
        self.prepare: Callable[[Rollout, tf.Tensor], tuple[Prepared, tf.Tensor]] = compiled(self._prepare)
        """(rollout, return carry [B]) -> (what to learn from, new return carry [B])."""
        self.estimate_again: Callable[[Rollout, Prepared], Prepared] = compiled(self._estimate_again)
        """(rollout, what was prepared of it) -> the same, with advantages by the value function as it is now."""
        self.improve_policy: Callable[[Prepared], Metrics] = compiled(self._improve_policy)
        self.fit_value_function: Callable[[Prepared, tf.Tensor], Metrics] = compiled(self._fit_value_function)
        self.update: Update = tf.function(self._update, autograph=False)
        """(rollout, return carry [B], orders) -> (metrics, new return carry [B]).

        The orders are those of `fit_value_function`: `self.orders(T * B, rng)`.
        """

    def orders(self, num_samples: int, rng: np.random.Generator) -> np.ndarray:
        """Random orders, int32 [value_epochs, num_samples], for one update."""
        return random_orders(self._settings.value_epochs, num_samples, rng)

    def _update(self, rollout: Rollout, carry: tf.Tensor, orders: tf.Tensor) -> tuple[Metrics, tf.Tensor]:
        prepared, carry = self.prepare(rollout, carry)
        if self._settings.value_function_first:
            fit = self.fit_value_function(prepared, orders)
            return self.improve_policy(self.estimate_again(rollout, prepared)) | fit, carry
        # These two touch no variable in common, so TensorFlow runs them at the same time.
        metrics = self.improve_policy(prepared) | self.fit_value_function(prepared, orders)
        return metrics, carry

    def _prepare(self, rollout: Rollout, carry: tf.Tensor) -> tuple[Prepared, tf.Tensor]:
        steps = _Steps.of(rollout)
        rewards, carry, sound = self._scaled_rewards(steps, carry)
        values = self._values(rollout.observations)
        advantages, targets = self._advantages_and_targets(steps, rewards, values)
        observations = _flat(rollout.observations[:-1])
        batch = self._batch(observations, _flat(rollout.actions), _flat(advantages), steps.weights)
        moments = Moments(*weighted_moments(observations, steps.weights), steps.count)
        return Prepared(batch, rewards, _flat(values[:-1]), _flat(targets), moments, sound), carry

    def _estimate_again(self, rollout: Rollout, prepared: Prepared) -> Prepared:
        steps = _Steps.of(rollout)
        values = self._values(rollout.observations)
        advantages, _ = self._advantages_and_targets(steps, prepared.rewards, values)
        batch = prepared.batch
        return prepared._replace(batch=self._batch(batch.observations, batch.actions, _flat(advantages), batch.weights))

    def _batch(self, observations: tf.Tensor, actions: tf.Tensor, advantages: tf.Tensor, weights: tf.Tensor) -> Batch:
        """The batch, and how its advantages came from those in the environment's own units."""
        unit = 1.0 / self._return_scale(tf.constant(1.0)) if self._settings.normalize_rewards else tf.constant(1.0)
        if self._settings.advantage_clip is not None:
            advantages = winsorize(advantages, weights, self._settings.advantage_clip)
        if not self._settings.normalize_advantages:
            return Batch(observations, actions, advantages, weights, tf.constant(0.0), unit)
        mean, scale = advantage_moments(advantages, weights)
        advantages = normalize_advantages(advantages, weights)
        return Batch(observations, actions, advantages, weights, unit * mean, unit * scale)

    def _improve_policy(self, prepared: Prepared) -> Metrics:
        batch = prepared.batch
        outcome = self._policy_optimizer.step(self._policy, batch, chunk_size=self._settings.chunk_size)
        metrics = outcome_metrics(outcome) | bound_metrics(batch, outcome, self._settings.gamma)
        parameters = self._map(self._policy.distribution_parameters, batch.observations)
        distribution = self._policy.action_distribution
        for name, figure in distribution.figures(parameters).items():
            metrics[f"train/{name}"] = weighted_mean(figure, batch.weights)
        # Last of all: every figure of this iteration is by the statistics that the policy acted with.
        sound = self._update_normalization(prepared.moments)
        metrics["train/statistics_are_finite"] = sound & prepared.sound
        # 0 but for rounding, clipped observations and the first statistics, if the policy's function is preserved.
        moved = self._map(self._policy.distribution_parameters, batch.observations)
        metrics["train/normalization_kl"] = weighted_mean(distribution.kl(parameters, moved), batch.weights)
        return metrics

    def _update_normalization(self, moments: Moments) -> tf.Tensor:
        if self._policy_average is not None:
            # Before: both have the same statistics still, and then again.
            self._policy_average.update(self._policy)
            self._policy_average.policy.update_normalization(moments)
        return self._policy.update_normalization(moments)

    def _fit_value_function(self, prepared: Prepared, orders: tf.Tensor) -> Metrics:
        batch, _, values, targets, moments, _ = prepared
        # The value function is fitted under the statistics that it will be used with.
        self._value_function.update_normalization(moments)
        value_loss = fit_value_function(
            self._value_function,
            self._value_optimizer,
            batch.observations,
            targets,
            batch.weights,
            orders=orders,
            minibatch_size=self._settings.value_minibatch_size,
        )
        return {
            "train/value_loss": value_loss,
            "train/explained_variance": explained_variance(values, targets, batch.weights),
            "train/learning_rate": tf.convert_to_tensor(self._value_optimizer.learning_rate),
        }

    def _map(self, function: Callable[[tf.Tensor], tf.Tensor], rows: tf.Tensor) -> tf.Tensor:
        return map_over_chunks(function, rows, self._settings.chunk_size)

    def _scaled_rewards(self, steps: _Steps, carry: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Rewards over the std of the return so far, these rows included: one scale for all of them.

        Returns:
          The rewards, the new carry, and whether the returns' moments were finite.
        """
        if not self._settings.normalize_rewards:
            return steps.rewards, carry, tf.constant(True)
        ended = tf.maximum(steps.terminated, steps.truncated)
        returns, carry = discounted_return_so_far(steps.rewards, ended, carry, gamma=self._settings.gamma)
        mean, variance = weighted_moments(_flat(returns), steps.weights)
        sound = self._return_scale.update(Moments(mean, variance, steps.count))
        # A sum that overflowed begins anew.
        return self._return_scale(steps.rewards), tf.where(tf.math.is_finite(carry), carry, 0.0), sound

    def _values(self, observations: tf.Tensor) -> tf.Tensor:
        return tf.reshape(self._map(self._value_function, _flat(observations)), observations.shape[:2])

    def _advantages_and_targets(
        self, steps: _Steps, rewards: tf.Tensor, values: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        settings = self._settings
        inputs = (rewards, values, steps.terminated, steps.truncated, steps.valid)
        advantages = gae(*inputs, gamma=settings.gamma, gae_lambda=settings.gae_lambda)
        if settings.value_target == "reward-to-go":
            return advantages, rewards_to_go(*inputs, gamma=settings.gamma)
        return advantages, lambda_returns(advantages, values)


class Prepared(NamedTuple):
    """What an update learns from.

    N samples, the scaled rewards [T, B], V [N] and its targets [N], the observations' moments, and whether those of the
    returns were finite.
    """

    batch: Batch
    rewards: tf.Tensor
    values: tf.Tensor
    targets: tf.Tensor
    moments: Moments
    sound: tf.Tensor


@dataclasses.dataclass(frozen=True)
class _Steps:
    """A rollout's rewards and flags as float32 [T, B]; weights [N] of the mean over valid rows, and their count."""

    rewards: tf.Tensor
    terminated: tf.Tensor
    truncated: tf.Tensor
    valid: tf.Tensor
    weights: tf.Tensor
    count: tf.Tensor

    @classmethod
    def of(cls, rollout: Rollout) -> _Steps:
        valid = tf.cast(rollout.valid, tf.float32)
        count = tf.reduce_sum(valid)
        return cls(
            tf.cast(rollout.rewards, tf.float32),
            tf.cast(rollout.terminated, tf.float32),
            tf.cast(rollout.truncated, tf.float32),
            valid,
            _flat(valid) / tf.maximum(count, 1.0),
            count,
        )


def _flat(rows: tf.Tensor) -> tf.Tensor:
    """[T, B, ...] -> [T * B, ...]."""
    return tf.reshape(rows, [-1, *rows.shape[2:]])

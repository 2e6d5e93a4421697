"""Diagonal Gaussian policy for continuous actions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_trpo.models.distributions import Distribution, diagonal_gaussian
from tf_trpo.models.mirror_symmetry import Reflection
from tf_trpo.models.policy import Policy

LOG_STD_RANGE = (-20.0, 2.0)
"""Limits of a state-dependent log standard deviation; beyond them exp() and the KL lose their digits."""


@keras.saving.register_keras_serializable(package="tf_trpo")
class GaussianPolicy(Policy):
    """Gaussian with independent dimensions; parameters are [mean, log_std], D = 2 d.

    The sampled action is what is stored and scored. Only the environment sees it clipped to the
    bounds: the density at a clipped action is not its probability. That is the likelihood of
    clipped actions: at a bound the probability of all that lies beyond, inside the density. Both have
    the same policy gradient in expectation; the second has less variance, the less the more actions
    lie beyond (Fujita and Maeda, 2018, Clipped Action Policy Gradient). The KL is the Gaussian's with either,
    and that of clipped actions is not larger, whatever clips them: a limit on it holds for both.

    Args:
      observation_shape: shape of one observation.
      action_low: lower bounds, one per action dimension (d of them); -inf for none.
      action_high: upper bounds.
      action_shape: shape of one environment action, d elements; by default [d].
      state_dependent_std: take the log standard deviation from the output layer, clipped to
        `LOG_STD_RANGE`, instead of from one free weight per dimension.
      initial_std: standard deviation at the start, > 0, in the environment's own action units.
      learned_std: let the policy optimizer move the standard deviation; else it stays until `set_std`.
      clipped_likelihood: score actions by the likelihood of clipped ones.
      **kwargs: as for `Policy`.

    Raises:
      ValueError: bounds, shape and standard deviation that make no sense together, or the likelihood of clipped actions
        in a subclass with another distribution and no `log_prob` of its own.
    """

    def __init__(
        self,
        observation_shape: Sequence[int],
        action_low: Sequence[float],
        action_high: Sequence[float],
        *,
        action_shape: Sequence[int] | None = None,
        state_dependent_std: bool = False,
        initial_std: float = 1.0,
        learned_std: bool = True,
        clipped_likelihood: bool = False,
        **kwargs: Any,
    ) -> None:
        if initial_std <= 0:
            raise ValueError(f"initial_std must be positive, got {initial_std}")
        if state_dependent_std and not learned_std:
            raise ValueError("a standard deviation that depends on the observation is learned")
        if clipped_likelihood and type(self).log_prob is Policy.log_prob:
            raise ValueError(f"the likelihood of clipped actions of {type(self).__name__}'s distribution is not known")
        num_actions = len(action_low)
        super().__init__(observation_shape, num_actions * (2 if state_dependent_std else 1), **kwargs)
        self.action_low = tuple(float(bound) for bound in action_low)
        self.action_high = tuple(float(bound) for bound in action_high)
        self.action_shape = tuple(action_shape) if action_shape is not None else (num_actions,)
        if not num_actions == len(self.action_high) == math.prod(self.action_shape):
            raise ValueError(
                f"{num_actions} lower and {len(self.action_high)} upper bounds do not fit actions of shape "
                f"{self.action_shape}"
            )
        if self.mirror is not None:
            self.mirror.check_actions(self.action_low, self.action_high)
        self.state_dependent_std = state_dependent_std
        self.initial_std = initial_std
        self.learned_std = learned_std
        self.clipped_likelihood = clipped_likelihood
        if not state_dependent_std:
            initializer = keras.initializers.Constant(math.log(initial_std))
            self.log_std = self.add_weight(
                shape=(num_actions,), initializer=initializer, trainable=learned_std, name="log_std"
            )

    def set_std(self, std: float) -> None:
        """Set the standard deviation of every action dimension, > 0, where it does not depend on the observation."""
        self.log_std.assign(tf.fill(self.log_std.shape, math.log(std)))

    def distribution_parameters(self, observations: tf.Tensor) -> tf.Tensor:
        outputs = self.outputs(observations)
        if self.state_dependent_std:
            mean, log_std = tf.split(outputs, 2, axis=-1)
            log_std = tf.clip_by_value(log_std + math.log(self.initial_std), *LOG_STD_RANGE)
        else:
            mean = outputs
            log_std = tf.convert_to_tensor(self.log_std)
            if self.mirror is not None:
                log_std = 0.5 * (log_std + self.mirror.actions.unsigned()(log_std))
            log_std = tf.broadcast_to(log_std, tf.shape(mean))
        return tf.concat([mean, log_std], axis=-1)

    def mirrored_outputs(self, outputs: tf.Tensor, actions: Reflection) -> tf.Tensor:
        if not self.state_dependent_std:
            return actions(outputs)
        mean, log_std = tf.split(outputs, 2, axis=-1)
        return tf.concat([actions(mean), actions.unsigned()(log_std)], axis=-1)

    def distribution(self, parameters: tf.Tensor) -> Distribution:
        return diagonal_gaussian(*tf.split(parameters, 2, axis=-1))

    def log_prob(self, parameters: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
        if not self.clipped_likelihood:
            return super().log_prob(parameters, actions)
        normal = self.distribution(parameters).distribution
        clipped = self._clipped(actions)
        # All three at the clipped action, which is finite without a bound too, so that what tf.where leaves out has a
        # finite gradient.
        inside = normal.log_prob(clipped)
        upwards = tf.where(actions > clipped, normal.log_survival_function(clipped), inside)
        return tf.reduce_sum(tf.where(actions < clipped, normal.log_cdf(clipped), upwards), axis=-1)

    def named_parameters(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        mean, log_std = tf.split(parameters, 2, axis=-1)
        return {"mean": mean, "log_std": log_std}

    def metric_product(self, parameters: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
        """M = diag(1 / std^2, 2), in the means and in the log standard deviations."""
        _, log_std = tf.split(parameters, 2, axis=-1)
        mean_part, log_std_part = tf.split(vectors, 2, axis=-1)
        return tf.concat([tf.exp(-2.0 * log_std) * mean_part, 2.0 * log_std_part], axis=-1)

    def noise(self, shape: Sequence[int], seed: tf.Tensor) -> tf.Tensor:
        return tf.random.stateless_normal([*shape, len(self.action_low)], seed)

    def sample(self, parameters: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        mean, log_std = tf.split(parameters, 2, axis=-1)
        return mean + tf.exp(log_std) * noise

    def std(self, parameters: tf.Tensor) -> tf.Tensor:
        """Standard deviation for each sample [N], a mean over the action dimensions."""
        _, log_std = tf.split(parameters, 2, axis=-1)
        return tf.reduce_mean(tf.exp(log_std), axis=-1)

    def to_environment(self, actions: tf.Tensor) -> tf.Tensor:
        clipped = self._clipped(actions)
        return clipped if len(self.action_shape) == 1 else tf.reshape(clipped, [-1, *self.action_shape])

    def _clipped(self, actions: tf.Tensor) -> tf.Tensor:
        # The bounds of environments are float32.
        low, high = (
            tf.cast(np.asarray(bound, np.float32), actions.dtype) for bound in (self.action_low, self.action_high)
        )
        return tf.minimum(tf.maximum(actions, low), high)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["num_outputs"]
        return {
            **config,
            "action_low": self.action_low,
            "action_high": self.action_high,
            "action_shape": self.action_shape,
            "state_dependent_std": self.state_dependent_std,
            "initial_std": self.initial_std,
            "learned_std": self.learned_std,
            "clipped_likelihood": self.clipped_likelihood,
        }

"""Diagonal Gaussian for continuous actions."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any, final

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tf_trpo.distributions.action_distribution import ActionDistribution, Distribution
from tf_trpo.numerics import Reflection
from tf_trpo.numerics.schedules import linear

LOG_STD_RANGE = (-20.0, 2.0)
"""Limits of a state-dependent log standard deviation; beyond them exp() and the KL lose their digits."""


@final
@keras.saving.register_keras_serializable(package="tf_trpo")
class Gaussian(ActionDistribution):
    """Gaussian with independent dimensions; parameters are [mean, log_std], D = 2 d.

    The sampled action is stored and scored; only the environment sees it clipped to the bounds. With
    `clipped_likelihood`, actions are scored by the likelihood of clipped actions: at a bound, the probability of all
    actions beyond; inside, the density. Both likelihoods have the same policy gradient in expectation; the second has
    less variance. The KL is the Gaussian's with both: the KL of clipped actions is not larger.

    Args:
      action_low: lower bounds, one per action dimension (d of them); -inf for none.
      action_high: upper bounds.
      action_shape: shape of one environment action, d elements; by default [d].
      state_dependent_std: take the log standard deviation from the encoder's outputs, clipped to `LOG_STD_RANGE`,
        instead of from free weights.
      initial_std: standard deviation at the start, > 0, in the environment's own action units.
      final_std: do not learn the free standard deviations: they follow a schedule (`follow_schedule`) that ends at
        final_std, > 0. None to learn them; a learned standard deviation shrinks as fast as the trust region lets it,
        since less noise is the nearest way to a better return, and then nothing is left to explore with.
      clipped_likelihood: score actions by the likelihood of clipped ones.
      std_groups: for each action dimension, the number of the free weight that holds its log standard deviation, from
        0; dimensions of the same group share one. By default each has its own.
      **kwargs: of `keras.layers.Layer`.

    Raises:
      ValueError: bounds, shape, groups and standard deviation that do not fit together.

    Source:
      Fujita and Maeda (2018), "Clipped Action Policy Gradient", for `clipped_likelihood`.
    """

    def __init__(
        self,
        action_low: Sequence[float],
        action_high: Sequence[float],
        *,
        action_shape: Sequence[int] | None = None,
        state_dependent_std: bool = False,
        initial_std: float = 1.0,
        final_std: float | None = None,
        clipped_likelihood: bool = False,
        std_groups: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        if initial_std <= 0:
            raise ValueError(f"initial_std must be positive, got {initial_std}")
        if final_std is not None and not 0 < final_std < math.inf:
            raise ValueError(f"final_std must be positive and finite, or None, got {final_std}")
        if state_dependent_std and not (final_std is None and std_groups is None):
            raise ValueError(
                "a standard deviation that depends on the observation is learned: it has no final_std and no std_groups"
            )
        size = len(action_low)
        super().__init__(size * (2 if state_dependent_std else 1), **kwargs)
        self.action_low = tuple(float(bound) for bound in action_low)
        self.action_high = tuple(float(bound) for bound in action_high)
        self.action_shape = tuple(action_shape) if action_shape is not None else (size,)
        if not size == len(self.action_high) == math.prod(self.action_shape):
            raise ValueError(
                f"{size} lower and {len(self.action_high)} upper bounds do not fit actions of shape {self.action_shape}"
            )
        self.state_dependent_std = state_dependent_std
        self.initial_std = initial_std
        self.final_std = final_std
        self.clipped_likelihood = clipped_likelihood
        self.std_groups = _checked_groups(std_groups, size)
        if not state_dependent_std:
            self.log_std = self.add_weight(
                shape=(size if self.std_groups is None else max(self.std_groups) + 1,),
                initializer=keras.initializers.Constant(math.log(initial_std)),
                trainable=final_std is None,
                name="log_std",
            )

    @property
    def is_scheduled(self) -> bool:
        return self.final_std is not None

    def follow_schedule(self, progress: float) -> None:
        """Set the free standard deviations to initial_std^(1 - progress) final_std^progress, if there is a schedule."""
        if self.final_std is not None:
            log_std = linear(math.log(self.initial_std), math.log(self.final_std), progress)
            self.log_std.assign(tf.fill(self.log_std.shape, tf.cast(log_std, self.log_std.dtype)))

    def parameters(self, outputs: tf.Tensor) -> tf.Tensor:
        if self.state_dependent_std:
            mean, log_std = tf.split(outputs, 2, axis=-1)
            log_std = tf.clip_by_value(log_std + math.log(self.initial_std), *LOG_STD_RANGE)
        else:
            mean = outputs
            log_std = tf.convert_to_tensor(self.log_std)
            if self.std_groups is not None:
                log_std = tf.gather(log_std, self.std_groups)
            log_std = tf.broadcast_to(log_std, tf.shape(mean))
        return tf.concat([mean, log_std], axis=-1)

    def distribution(self, parameters: tf.Tensor) -> Distribution:
        mean, log_std = tf.split(parameters, 2, axis=-1)
        return tfp.distributions.Independent(tfp.distributions.Normal(mean, tf.exp(log_std)), 1)

    def log_prob(self, parameters: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
        if not self.clipped_likelihood:
            return super().log_prob(parameters, actions)
        normal = self.distribution(parameters).distribution
        clipped = self._clipped(actions)
        # All three are computed at the clipped action, which is finite without a bound too, so that the branch that
        # tf.where does not take has a finite gradient.
        inside = normal.log_prob(clipped)
        upwards = tf.where(actions > clipped, normal.log_survival_function(clipped), inside)
        return tf.reduce_sum(tf.where(actions < clipped, normal.log_cdf(clipped), upwards), axis=-1)

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

    def to_environment(self, actions: tf.Tensor) -> tf.Tensor:
        clipped = self._clipped(actions)
        return clipped if len(self.action_shape) == 1 else tf.reshape(clipped, [-1, *self.action_shape])

    def _clipped(self, actions: tf.Tensor) -> tf.Tensor:
        # The bounds of environments are float32.
        low, high = (
            tf.cast(np.asarray(bound, np.float32), actions.dtype) for bound in (self.action_low, self.action_high)
        )
        return tf.minimum(tf.maximum(actions, low), high)

    def named_parameters(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        mean, log_std = tf.split(parameters, 2, axis=-1)
        return {"mean": mean, "log_std": log_std}

    def figures(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        """Compute "std", the standard deviation for each sample [N], a mean over the action dimensions."""
        _, log_std = tf.split(parameters, 2, axis=-1)
        return {"std": tf.reduce_mean(tf.exp(log_std), axis=-1)}

    def mirrored(self, actions: Reflection) -> Reflection:
        low, high = self.action_low, self.action_high
        if len(actions.signs) != len(low):
            raise ValueError(f"the mirror is one of {len(actions.signs)} actions, not of {len(low)}")
        for position, (source, sign) in enumerate(zip(actions.sources, actions.signs, strict=True)):
            image = (low[source], high[source]) if sign > 0 else (-high[source], -low[source])
            if not all(math.isclose(a, b) for a, b in zip((low[position], high[position]), image, strict=True)):
                raise ValueError(f"the bounds of action {position} are not the image of those of action {source}")
            shared = source == position or (self.std_groups and self.std_groups[source] == self.std_groups[position])
            if not (self.state_dependent_std or shared):
                raise ValueError(
                    f"actions {position} and {source} mirror each other: std_groups must give them one std"
                )
        return actions.then(actions.unsigned()) if self.state_dependent_std else actions

    def fits(self, action_space: Any) -> bool:
        from gymnasium.spaces import Box

        return isinstance(action_space, Box) and action_space.shape == self.action_shape

    def describe_actions(self) -> dict[str, Any]:
        bounds = {"low": self.action_low, "high": self.action_high}
        finite = {name: [bound if math.isfinite(bound) else None for bound in bounds[name]] for name in bounds}
        return {"type": "Box", "shape": list(self.action_shape), **finite}

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["num_outputs"]
        # Each argument of the constructor is kept by an attribute of its name.
        names = [name for name in inspect.signature(Gaussian.__init__).parameters if name not in ("self", "kwargs")]
        return {**config, **{name: getattr(self, name) for name in names}}


def _checked_groups(groups: Sequence[int] | None, size: int) -> tuple[int, ...] | None:
    """Check that there is a group for each of `size` dimensions, and a dimension for each group."""
    if groups is None:
        return None
    if len(groups) != size or sorted(set(groups)) != list(range(max(groups) + 1)):
        raise ValueError(f"std_groups must number {size} dimensions' groups from 0 without gaps, got {tuple(groups)}")
    return tuple(int(group) for group in groups)

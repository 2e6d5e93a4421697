"""Diagonal Gaussian for continuous actions."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, final

import keras
import tensorflow as tf
import tensorflow_probability as tfp
from numpy.typing import ArrayLike

from tf_trpo.distributions.action_box import ActionBox
from tf_trpo.distributions.action_distribution import Distribution
from tf_trpo.distributions.box_distribution import BoxDistribution
from tf_trpo.numerics import Reflection
from tf_trpo.numerics.schedules import linear

LOG_STD_RANGE = (-20.0, 2.0)
"""Limits of a state-dependent log standard deviation, relative to the initial one; beyond them, exp() and the KL lose
precision."""


@final
@keras.saving.register_keras_serializable(package="tf_trpo")
class Gaussian(BoxDistribution):
    """Gaussian with independent dimensions; parameters are [mean, log_std], D = 2 d.

    Its coordinates are those of `ActionBox`, in which a dimension with two bounds is [-1, 1], so that the units of
    actions do not matter. Rollouts store the sampled action, and the log-probability is that of the sampled action;
    only the environment gets it clipped to the bounds. With `clipped_likelihood`, the log-probability is that of the
    clipped action: at a bound, the probability of all actions beyond; inside, the density. Both have the same policy
    gradient in expectation, but the second has less variance. The KL is the Gaussian's in both cases; the KL of clipped
    actions is not larger.

    Args:
      action_low: lower bounds, an array of the shape of one action, d numbers; -inf for none.
      action_high: upper bounds.
      action_dtype: float dtype of the environment's actions.
      state_dependent_std: the log standard deviation is an output of the encoder, and not a free weight. Relative to
        log initial_std, it is clipped to `LOG_STD_RANGE`.
      initial_std: initial standard deviation, > 0, as a fraction of half the range between the bounds; in action units
        for a dimension without two bounds.
      final_std: if given, > 0, the free standard deviations are not learned, but follow a schedule (`follow_schedule`)
        that ends at final_std. None to learn them. A learned standard deviation shrinks as fast as the trust region
        allows, because less noise soon improves the return, and then there is no exploration left.
      clipped_likelihood: use the likelihood of clipped actions.
      std_groups: for each action dimension, the index of the free weight that holds its log standard deviation;
        dimensions with the same index share a weight. By default each dimension has its own.
      **kwargs: arguments of `keras.layers.Layer`.

    Raises:
      ValueError: bounds, groups and standard deviations do not fit together, or a standard deviation is not positive.

    Source:
      Fujita and Maeda (2018), "Clipped Action Policy Gradient", for `clipped_likelihood`.
    """

    def __init__(
        self,
        action_low: ArrayLike,
        action_high: ArrayLike,
        *,
        action_dtype: str = "float32",
        state_dependent_std: bool = False,
        initial_std: float = 1.0,
        final_std: float | None = None,
        clipped_likelihood: bool = False,
        std_groups: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        if not 0 < initial_std < math.inf:
            raise ValueError(f"initial_std must be positive and finite, got {initial_std}")
        if final_std is not None and not 0 < final_std < math.inf:
            raise ValueError(f"final_std must be positive and finite, or None, got {final_std}")
        if state_dependent_std and not (final_std is None and std_groups is None):
            raise ValueError(
                "a standard deviation that depends on the observation is learned: it has no final_std and no std_groups"
            )
        box = ActionBox(action_low, action_high, action_dtype)
        size = len(box.low)
        super().__init__(box, size * (2 if state_dependent_std else 1), **kwargs)
        self.state_dependent_std = state_dependent_std
        self.initial_std = initial_std
        self.final_std = final_std
        self.clipped_likelihood = clipped_likelihood
        groups = tuple(range(size) if std_groups is None else map(operator.index, std_groups))
        if len(groups) != size or sorted(set(groups)) != list(range(max(groups) + 1)):
            raise ValueError(f"std_groups must number {size} dimensions' groups from 0 without gaps, got {groups}")
        self.std_groups = None if std_groups is None else groups
        if not state_dependent_std:
            self.log_std = self.add_weight(
                shape=(max(groups) + 1,),
                initializer=keras.initializers.Constant(math.log(initial_std)),
                trainable=final_std is None,
                name="log_std",
            )

    @property
    def is_scheduled(self) -> bool:
        return self.final_std is not None

    def follow_schedule(self, progress: float) -> None:
        """If there is a schedule, set the free standard deviations to initial_std^(1 - progress) final_std^progress."""
        if self.final_std is not None:
            log_std = linear(math.log(self.initial_std), math.log(self.final_std), progress)
            self.log_std.assign(tf.fill(self.log_std.shape, tf.cast(log_std, self.log_std.dtype)))

    def parameters(self, outputs: tf.Tensor) -> tf.Tensor:
        if self.state_dependent_std:
            mean, log_std = tf.split(outputs, 2, axis=-1)
            # Clipped before the initial value is added: at a limit, the derivative is 0.
            log_std = tf.clip_by_value(log_std, *LOG_STD_RANGE) + math.log(self.initial_std)
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
        low, high = self.box.coordinate_bounds(actions.dtype)
        clipped = self.box.clipped(actions)
        # All three terms are computed at the clipped action, which is always finite, so that the branch that tf.where
        # does not select has a finite gradient.
        inside = normal.log_prob(clipped)
        # Demonstrated actions, which the environment got clipped, lie exactly at a bound.
        upwards = tf.where(actions >= high, normal.log_survival_function(clipped), inside)
        return tf.reduce_sum(tf.where(actions <= low, normal.log_cdf(clipped), upwards), axis=-1)

    def metric_product(self, parameters: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
        """M = diag(1 / std^2, 2), for the means and the log standard deviations."""
        _, log_std = tf.split(parameters, 2, axis=-1)
        mean_part, log_std_part = tf.split(vectors, 2, axis=-1)
        return tf.concat([tf.exp(-2.0 * log_std) * mean_part, 2.0 * log_std_part], axis=-1)

    def noise(self, shape: Sequence[int], seed: tf.Tensor) -> tf.Tensor:
        return tf.random.stateless_normal([*shape, len(self.box.low)], seed)

    def sample(self, parameters: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        mean, log_std = tf.split(parameters, 2, axis=-1)
        return mean + tf.exp(log_std) * noise

    def named_parameters(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        mean, log_std = tf.split(parameters, 2, axis=-1)
        return {"mean": mean, "log_std": log_std}

    def figures(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        """Compute "std", the standard deviation of each sample [N], averaged over the action dimensions."""
        _, log_std = tf.split(parameters, 2, axis=-1)
        return {"std": tf.reduce_mean(tf.exp(log_std), axis=-1)}

    def mirrored(self, actions: Reflection) -> Reflection:
        self.box.check_mirror(actions)
        if self.state_dependent_std:
            return actions.then(actions.unsigned())
        groups = self.std_groups or range(len(self.box.low))
        for position, source in enumerate(actions.sources):
            if groups[source] != groups[position]:
                raise ValueError(
                    f"actions {position} and {source} mirror each other: std_groups must give them one std"
                )
        return actions

"""The one door to TensorFlow Probability, which is frozen upstream."""

from __future__ import annotations

from typing import TypeAlias

import tensorflow as tf
import tensorflow_probability as tfp

Distribution: TypeAlias = tfp.distributions.Distribution


def diagonal_gaussian(mean: tf.Tensor, log_std: tf.Tensor) -> Distribution:
    """Make a Gaussian with independent dimensions: one event of shape [d] for each row of [N, d]."""
    return tfp.distributions.Independent(tfp.distributions.Normal(mean, tf.exp(log_std)), reinterpreted_batch_ndims=1)


def categorical(logits: tf.Tensor) -> Distribution:
    """Make a categorical distribution over 0 .. n - 1 from logits [N, n]."""
    return tfp.distributions.Categorical(logits=logits)

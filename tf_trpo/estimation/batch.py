"""The flat batch that a policy optimizer works on."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf


class Batch(NamedTuple):
    """N samples, some of them padding.

    Attributes:
      observations: float32 [N, ...].
      actions: the sampled actions (not clipped to any bounds), [N, ...].
      advantages: float32 [N].
      weights: float32 [N], summing to 1: 1/n on the n valid samples and 0 on padding, so that a
        weighted sum is the mean over valid samples.
    """

    observations: tf.Tensor
    actions: tf.Tensor
    advantages: tf.Tensor
    weights: tf.Tensor

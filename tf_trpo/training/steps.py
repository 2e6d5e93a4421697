"""The rewards and flags of a rollout, as tensors."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from tf_trpo.rollouts import Rollout


@dataclasses.dataclass(frozen=True)
class Steps:
    """A rollout's rewards and flags as float32 [T, B]; weights [N] of the mean over valid rows, and their count."""

    rewards: tf.Tensor
    terminated: tf.Tensor
    truncated: tf.Tensor
    valid: tf.Tensor
    weights: tf.Tensor
    count: tf.Tensor

    @classmethod
    def of(cls, rollout: Rollout) -> Steps:
        """Read them from a rollout."""
        valid = tf.cast(rollout.valid, tf.float32)
        count = tf.reduce_sum(valid)
        return cls(
            tf.cast(rollout.rewards, tf.float32),
            tf.cast(rollout.terminated, tf.float32),
            tf.cast(rollout.truncated, tf.float32),
            valid,
            tf.reshape(valid, [-1]) / tf.maximum(count, 1.0),
            count,
        )

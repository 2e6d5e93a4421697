"""Minibatches of a batch with a static number of samples: which rows are in which."""

from __future__ import annotations

import numpy as np

from tf_trpo.lazy import tensorflow as tf


def random_orders(epochs: int, num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Independent random permutations, int32 [epochs, num_samples].

    Drawn by NumPy: sorting random numbers inside the compiled update took as long as the regression.
    """
    return rng.permuted(np.tile(np.arange(num_samples, dtype=np.int32), (epochs, 1)), axis=1)


def minibatches_per_epoch(num_samples: int, minibatch_size: int) -> int:
    """How many minibatches of at most this size hold all samples."""
    return -(-num_samples // minibatch_size)


def minibatch_rows(orders: tf.Tensor, step: tf.Tensor, minibatch_size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Rows of one minibatch out of epochs * minibatches_per_epoch.

    If the minibatches do not divide the batch, the last one of an epoch is filled up with rows that do
    not count, so that every sample counts once an epoch.

    Args:
      orders: int32 [epochs, N], N static: a permutation of the samples for each pass over them.
      step: int32 scalar, the number of the minibatch from 0.
      minibatch_size: in [1, N].

    Returns:
      Rows, int32 [minibatch_size], and whether each counts, bool [minibatch_size].
    """
    num_samples = orders.shape[1]
    per_epoch = minibatches_per_epoch(num_samples, minibatch_size)
    slots = step % per_epoch * minibatch_size + tf.range(minibatch_size)
    return tf.gather(orders[step // per_epoch], slots % num_samples), slots < num_samples

"""Choose the rows of minibatches of a batch with a static number of samples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics.shapes import check_shapes


def random_orders(epochs: int, num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Draw independent random permutations of the samples, int32 [epochs, num_samples].

    NumPy draws them, because sorting random numbers inside the compiled update took as long as the regression.
    """
    return rng.permuted(np.tile(np.arange(num_samples, dtype=np.int32), (epochs, 1)), axis=1)


def minibatches_per_epoch(num_samples: int, minibatch_size: int) -> int:
    """Return the number of minibatches of at most `minibatch_size` samples that cover all samples."""
    return -(-num_samples // minibatch_size)


def minibatch_size_of(shape: Sequence[int], samples: int) -> int:
    """Return the number of rows of a minibatch with about the given number of samples, at least one row.

    Args:
      shape: shape of all samples, [N], or [S, L] if a row is a segment of L samples.
      samples: number of samples, >= 1.
    """
    return min(max(1, samples // math.prod(shape[1:])), shape[0])


def minibatch_rows(orders: tf.Tensor, step: tf.Tensor, minibatch_size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the rows of one of the epochs * minibatches_per_epoch minibatches.

    If N is not a multiple of `minibatch_size`, the last minibatch of an epoch is padded with rows that do not count, so
    that every sample counts once per epoch.

    Args:
      orders: a permutation of the samples for each epoch, int32 [epochs, N], with a static N.
      step: index of the minibatch, from 0, int32 scalar.
      minibatch_size: number of rows, in [1, N].

    Returns:
      The rows, int32 [minibatch_size], and whether each row counts, bool [minibatch_size].
    """
    check_shapes("minibatch_rows", orders=(orders, "epochs N"), step=(step, ""))
    num_samples = orders.shape[1]
    per_epoch = minibatches_per_epoch(num_samples, minibatch_size)
    slots = step % per_epoch * minibatch_size + tf.range(minibatch_size)
    return tf.gather(tf.gather(orders, step // per_epoch), slots % num_samples), slots < num_samples

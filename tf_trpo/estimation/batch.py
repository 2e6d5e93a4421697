"""The batch of samples from which a policy optimizer learns."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import check_shapes, merged


class Costs(NamedTuple):
    """Estimates for C costs.

    Attributes:
      advantages: advantages of the costs, in their own units, float32 [N, C], or [S, L, C] in segments.
      totals: mean undiscounted sum of each cost over an episode, float64 [C].
      length: mean length of these episodes in steps, float64 scalar > 0.
    """

    advantages: tf.Tensor
    totals: tf.Tensor
    length: tf.Tensor


class Batch(NamedTuple):
    """N samples, some of which may be padding.

    For a policy with a memory, the samples are S segments of L rows each: all arrays are [S, L, ...] instead of
    [N, ...], and the observations are `Segments`.

    Attributes:
      observations: a nest of arrays [N, ...].
      actions: the sampled actions, not clipped to bounds, [N, ...].
      advantages: float32 [N].
      weights: float32 [N], with sum 1: 1/n on the n valid samples and 0 on padding, so that a weighted sum is the mean
        over the valid samples; all 0 without a valid sample. If branches try every action, a weight is also
        proportional to the action's probability.
      advantage_mean: scalar that was subtracted from the advantages; 0 if none was.
      advantage_scale: scalar > 0 by which the advantages were then divided. So advantage_mean + advantage_scale *
        advantages are the estimates in the environment's own units of return.
      costs: estimates for the costs; an empty tuple without costs.
      anchor: parameters [N, D] of the anchor policy's distributions; an empty tuple without an anchor.
    """

    observations: Any
    actions: tf.Tensor
    advantages: tf.Tensor
    weights: tf.Tensor
    advantage_mean: tf.Tensor | float = 0.0
    advantage_scale: tf.Tensor | float = 1.0
    costs: Costs | tuple[()] = ()
    anchor: tf.Tensor | tuple[()] = ()

    @property
    def rows(self) -> Batch:
        """The batch with actions, advantages and weights as N samples, even if they are in segments."""
        return self._replace(**{name: as_rows(getattr(self, name), self.weights) for name in _BY_SAMPLE})

    def checked(self) -> Batch:
        """Convert NumPy arrays to tensors, and the advantages and weights to float32.

        Raises:
          ValueError: the sum of the weights is known, and neither 1 nor, without a valid sample, 0.
        """

        def tensor(part: Any) -> Any:
            return tf.constant(part) if isinstance(part, np.ndarray) else part

        advantages, weights = (tf.cast(part, tf.float32) for part in (self.advantages, self.weights))
        batch = tf.nest.map_structure(tensor, self._replace(advantages=advantages, weights=weights))
        total = float(tf.reduce_sum(batch.weights)) if tf.executing_eagerly() else 1.0
        if total != 0.0 and not abs(total - 1.0) < 1e-3:
            raise ValueError(f"weights: their sum must be 1, such as 1/n for each of n samples, and is {total:g}")
        return batch

    def required_costs(self) -> Costs:
        """Return the costs; raise ValueError if there are none."""
        if not isinstance(self.costs, Costs):
            raise ValueError("cost_limits are given, and the batch has no costs")
        return self.costs


_BY_SAMPLE = ("actions", "advantages", "weights")


def as_rows(samples: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Flatten segments [S, L, ...] to [S * L, ...] if the weights are [S, L]; return samples [N, ...] unchanged.

    Raises:
      ValueError: the samples do not fit the weights.
    """
    is_flat = len(weights.shape) < 2
    shape = "N" if is_flat else "S L"
    check_shapes("as_rows", samples=(samples, f"{shape} ..."), weights=(weights, shape))
    return samples if is_flat else merged(samples)


def counted_weights(weights: tf.Tensor, counted: tf.Tensor) -> tf.Tensor:
    """Return weights that are 0 for all samples in rows that do not count.

    Args:
      weights: [M], or [M, L] if a row is a segment.
      counted: whether a row counts, [M], bool or 0 and 1.
    """
    counts = tf.cast(counted, weights.dtype)
    return weights * tf.reshape(counts, [-1] + [1] * (len(weights.shape) - 1))


def chunk_weights(weights: tf.Tensor) -> tf.Tensor:
    """Return the weights [N] by which `reduce_over_chunks` counts: those of the samples, or 1 for each segment."""
    return weights if len(weights.shape) == 1 else tf.ones(weights.shape[:1], weights.dtype)


def weights_in_chunk(weights: tf.Tensor, counted: tf.Tensor) -> tf.Tensor:
    """Return the weights of a chunk's samples, given the part of `chunk_weights` that `reduce_over_chunks` passes."""
    return counted if len(weights.shape) == 1 else counted_weights(weights, counted)


def from_rows(rows: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Invert `as_rows`: reshape [S * L, ...] to [S, L, ...] if the weights are of segments of L rows, for any S."""
    return rows if len(weights.shape) < 2 else tf.reshape(rows, [-1, weights.shape[1], *rows.shape[1:]])

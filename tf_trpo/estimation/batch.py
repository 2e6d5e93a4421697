"""The batch of samples from which a policy optimizer learns."""

from __future__ import annotations

from typing import Any, NamedTuple

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import check_shapes, merged


class Costs(NamedTuple):
    """What C costs are, besides the rewards.

    Attributes:
      advantages: of the costs, in their own unit, float32 [N, C], or [S, L, C] in segments.
      totals: mean total of each cost in an episode, undiscounted, float64 [C].
      length: mean length of these episodes, in steps, float64 scalar > 0.
    """

    advantages: tf.Tensor
    totals: tf.Tensor
    length: tf.Tensor


class Batch(NamedTuple):
    """N samples; some may be padding.

    Samples of a policy with a memory are S segments of L rows each: then all arrays are [S, L, ...] in the place of
    [N, ...], and the observations are the `Segments` that the policy takes.

    Attributes:
      observations: a nest of arrays [N, ...].
      actions: the sampled actions, not clipped to any bounds, [N, ...].
      advantages: float32 [N].
      weights: float32 [N], with sum 1: 1/n on the n valid samples and 0 on padding, so that a weighted sum is the mean
        over the valid samples.
      advantage_mean: scalar that was subtracted from the advantages; 0 if none was.
      advantage_scale: scalar > 0 by which the advantages were then divided. So advantage_mean + advantage_scale *
        advantages are the estimates in the environment's own units of return.
      costs: what there is besides the rewards; empty without costs.
      anchor: parameters [N, D] of the distributions of the policy to stay near; empty if there is none.
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
        """The batch with the actions, advantages and weights of N samples, also if they are in segments."""
        return self._replace(**{name: as_rows(getattr(self, name), self.weights) for name in _BY_SAMPLE})


def costs_of(batch: Batch) -> Costs:
    """Give a batch's costs; raise ValueError if it has none."""
    if not isinstance(batch.costs, Costs):
        raise ValueError("cost_limits are given, and the batch has no costs")
    return batch.costs


_BY_SAMPLE = ("actions", "advantages", "weights")


def as_rows(samples: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """[S, L, ...] -> [S * L, ...] if the weights [S, L] are of segments; else [N, ...] unchanged.

    Raises:
      ValueError: the samples do not fit the weights.
    """
    is_flat = len(weights.shape) < 2
    shape = "N" if is_flat else "S L"
    check_shapes("as_rows", samples=(samples, f"{shape} ..."), weights=(weights, shape))
    return samples if is_flat else merged(samples)


def counted_weights(weights: tf.Tensor, counted: tf.Tensor) -> tf.Tensor:
    """Give the weight 0 to all samples of rows that do not count.

    Args:
      weights: [M], or [M, L] if a row is a segment.
      counted: bool or 0 and 1, [M].
    """
    counts = tf.cast(counted, weights.dtype)
    return weights * tf.reshape(counts, [-1] + [1] * (len(weights.shape) - 1))


def from_rows(rows: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Undo `as_rows`: [S * L, ...] -> [S, L, ...] if the weights [S, L] are of segments; S may be other rows'."""
    return rows if len(weights.shape) < 2 else tf.reshape(rows, [-1, weights.shape[1], *rows.shape[1:]])

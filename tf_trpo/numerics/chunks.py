"""Many samples in bounded memory: a function of a batch, computed on one chunk of its rows after another.

To make the chunks equal, the last row is repeated, with weight 0 (zeros instead of a real row might be something that a
network or a distribution cannot take). A batch that fits into one chunk is passed as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from tf_trpo.lazy import tensorflow as tf

Samples = TypeVar("Samples")
"""A tensor [N, ...], or a nest of them with the same N."""


def reduce_over_chunks(
    function: Callable[[Samples, tf.Tensor], Any],
    combine: Callable[[Any, Any], Any],
    initial: Any,
    samples: Samples,
    weights: tf.Tensor,
    chunk_size: int | None,
) -> Any:
    """combine(... combine(combine(initial, function(chunk 1)), function(chunk 2)) ...).

    Args:
      function: (chunk of the samples [size, ...], of the weights [size]) -> a tensor or a nest of them, in
        which a sample of weight 0 has no say.
      combine: (result so far, result of a chunk) -> result.
      initial: the result of no chunk, with the shapes and types of every other.
      samples: tensors [N, ...].
      weights: float [N].
      chunk_size: at most so many rows at once, >= 1; None for all.

    Returns:
      The result.

    Raises:
      ValueError: N is not static, and there is a chunk_size.
    """
    chunks, count = _chunks(samples, chunk_size)
    if count == 1:
        return combine(initial, function(samples, weights))
    rows = tf.nest.flatten(chunks)[0].shape[1]
    weight_chunks = tf.reshape(tf.pad(weights, [[0, count * rows - weights.shape[0]]]), [count, rows])

    def step(i: tf.Tensor, result: Any) -> tuple[tf.Tensor, Any]:
        chunk = tf.nest.map_structure(lambda rows: rows[i], chunks)
        return i + 1, combine(result, function(chunk, weight_chunks[i]))

    # One after another: iterations side by side would each hold their chunk.
    return tf.while_loop(lambda i, _: i < count, step, (tf.constant(0), initial), parallel_iterations=1)[1]


def map_over_chunks(function: Callable[[tf.Tensor], tf.Tensor], rows: tf.Tensor, chunk_size: int | None) -> tf.Tensor:
    """function(rows), chunk by chunk, for a function that treats each row by itself.

    Args:
      function: a chunk [size, ...] -> [size, ...] of the chunk's own type.
      rows: float tensor [N, ...] with a static N.
      chunk_size: as in `reduce_over_chunks`.

    Returns:
      A tensor [N, ...].
    """
    chunks, count = _chunks(rows, chunk_size)
    if count == 1:
        return function(rows)
    results = tf.map_fn(function, chunks, fn_output_signature=rows.dtype, parallel_iterations=1)
    return tf.reshape(results, [-1, *results.shape[2:]])[: rows.shape[0]]


def _chunks(samples: Any, chunk_size: int | None) -> tuple[Any, int]:
    """[N, ...] as [count, size, ...] for the fewest chunks that are small enough."""
    size = tf.nest.flatten(samples)[0].shape[0]
    if chunk_size is None:
        return samples, 1
    if size is None:
        raise ValueError("a batch is processed in chunks only if the number of its samples is static")
    if size <= chunk_size:
        return samples, 1
    count = -(-size // chunk_size)
    rows = -(-size // count)

    def cut(tensor: tf.Tensor) -> tf.Tensor:
        padded = tf.gather(tensor, tf.minimum(tf.range(count * rows), size - 1))
        return tf.reshape(padded, [count, rows, *tensor.shape[1:]])

    return tf.nest.map_structure(cut, samples), count

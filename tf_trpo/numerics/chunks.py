"""Compute functions of a batch in bounded memory, one chunk of rows after another.

All chunks have the same size. The last chunk is padded by repeating the last row with weight 0, because a network or a
distribution might fail on a row of zeros. A batch that fits into one chunk is passed unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics.shapes import check_shapes

Samples = TypeVar("Samples")
"""A tensor [N, ...], or a nest of them with the same N."""


LARGEST_CHUNK = 32_768
"""Default number of rows in a chunk, if rows are small."""
_CHUNK_BYTES = 2**26


def chunk_size_for(samples: Any) -> int:
    """Choose the number of rows in a chunk by the float32 memory of a row; images count twice, for the convolutions.

    Args:
      samples: a tensor [N, ...] or a nest of tensors with the same N, with static shapes except for N.
    """
    row = sum(4 * math.prod(rows.shape[1:]) * (2 if len(rows.shape) > 3 else 1) for rows in tf.nest.flatten(samples))
    return max(1, min(LARGEST_CHUNK, _CHUNK_BYTES // max(1, row)))


def reduce_over_chunks(
    function: Callable[[Samples, tf.Tensor], Any],
    combine: Callable[[Any, Any], Any],
    initial: Any,
    samples: Samples,
    weights: tf.Tensor,
    chunk_size: int | None,
) -> Any:
    """Combine the results of a function on all chunks of the samples, in order.

        combine(... combine(combine(initial, function(chunk 1)), function(chunk 2)) ...)

    Args:
      function: (samples [size, ...] of a chunk, their weights [size]) -> a tensor or a nest of tensors. A sample of
        weight 0 must not change the result.
      combine: (result so far, result of a chunk) -> result.
      initial: the result for no chunks, with the shapes and dtypes of all other results.
      samples: a tensor [N, ...] or a nest of tensors with the same N.
      weights: float [N].
      chunk_size: largest number of rows in a chunk, >= 1; None for one chunk.

    Returns:
      The combined result.

    Raises:
      ValueError: a shape is wrong, or chunk_size is given and N is not static.
    """
    for rows in tf.nest.flatten(samples):
        check_shapes("reduce_over_chunks", samples=(rows, "N ..."), weights=(weights, "N"))
    count = _count(samples, chunk_size)
    if count == 1:
        return combine(initial, function(samples, weights))
    rows = _rows(weights.shape[0], count)
    weight_chunks = tf.reshape(tf.pad(weights, [[0, count * rows - weights.shape[0]]]), [count, rows])

    def step(i: tf.Tensor, result: Any) -> tuple[tf.Tensor, Any]:
        return i + 1, combine(result, function(_chunk(samples, i, count), weight_chunks[i]))

    # Not in parallel, since each parallel iteration would hold a chunk in memory.
    return tf.while_loop(lambda i, _: i < count, step, (tf.constant(0), initial), parallel_iterations=1)[1]


def map_over_chunks(function: Callable[[Samples], tf.Tensor], samples: Samples, chunk_size: int | None) -> tf.Tensor:
    """Apply a function that computes each row independently, chunk by chunk.

    Args:
      function: samples [size, ...] of a chunk -> float32 [size, ...].
      samples: a tensor [N, ...] or a nest of tensors with the same N.
      chunk_size: largest number of rows in a chunk, >= 1; None for one chunk.

    Returns:
      function(samples), [N, ...].

    Raises:
      ValueError: a shape is wrong, the function changes the number of rows, or chunk_size is given and N is not
        static.
    """
    for rows in tf.nest.flatten(samples):
        check_shapes("map_over_chunks", rows=(rows, "N ..."))
    count = _count(samples, chunk_size)

    def on_chunk(chunk: Samples) -> tf.Tensor:
        result = function(chunk)
        check_shapes("map_over_chunks", rows=(tf.nest.flatten(chunk)[0], "N ..."), result=(result, "N ..."))
        return result

    if count == 1:
        return on_chunk(samples)
    results = tf.map_fn(
        lambda i: on_chunk(_chunk(samples, i, count)),
        tf.range(count),
        fn_output_signature=tf.float32,
        parallel_iterations=1,
    )
    return tf.reshape(results, [-1, *results.shape[2:]])[: tf.nest.flatten(samples)[0].shape[0]]


def _count(samples: Any, chunk_size: int | None) -> int:
    """Return the smallest sufficient number of chunks."""
    if chunk_size is None:
        return 1
    size = tf.nest.flatten(samples)[0].shape[0]
    if size is None:
        raise ValueError("a batch can be cut into chunks only if the number of its samples is static")
    return max(1, -(-size // chunk_size))


def _rows(size: int, count: int) -> int:
    return -(-size // count)


def _chunk(samples: Any, index: tf.Tensor, count: int) -> Any:
    """Gather one chunk of samples [N, ...]; the last chunk is padded with the last sample.

    Gathering all chunks at once would need a second copy of all samples in each loop over them.
    """
    size = tf.nest.flatten(samples)[0].shape[0]
    rows = _rows(size, count)
    places = tf.minimum(index * rows + tf.range(rows), size - 1)
    return tf.nest.map_structure(lambda tensor: tf.gather(tensor, places), samples)

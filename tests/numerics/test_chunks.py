"""Results chunk by chunk equal results all at once, for any sizes, compiled or not."""

import operator

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tf_trpo.numerics import chunk_size_for, map_over_chunks, reduce_over_chunks

CASES = pytest.mark.parametrize(
    ("chunk_size", "jit_compile"), [*((size, None) for size in (1, 4, 7, 20, None)), (4, False), (4, True)]
)


def run(function, *arguments, jit_compile):
    """Run compiled by XLA, as a graph, or eagerly (None)."""
    return function(*arguments) if jit_compile is None else tf.function(function, jit_compile=jit_compile)(*arguments)


class Seen:
    """A function that records the sizes of its arguments."""

    def __init__(self):
        self.sizes = []

    def __call__(self, values, weights):
        assert not np.any(np.all(values == 0, axis=1)), "a row that is none of the samples"
        self.sizes.append(values.shape[0])
        return tf.reduce_sum(weights[:, None] * values, axis=0)


@given(size=st.integers(1, 50), chunk_size=st.one_of(st.none(), st.integers(1, 60)), seed=st.integers(0, 99))
def test_sums_over_chunks_are_sums(size, chunk_size, seed):
    rng = np.random.default_rng(seed)
    values, weights = rng.integers(1, 8, [size, 3]).astype(float), rng.integers(0, 4, size).astype(float)
    seen = Seen()
    arrays = tf.constant(values), tf.constant(weights)
    result = reduce_over_chunks(seen, operator.add, tf.zeros(3, tf.float64), *arrays, chunk_size)
    np.testing.assert_array_equal(result, weights @ values)
    assert max(seen.sizes) <= (chunk_size or size)
    assert len(seen.sizes) == (1 if chunk_size is None else -(-size // chunk_size))
    assert sum(seen.sizes) - size < len(seen.sizes)


@CASES
def test_any_nest_can_be_combined_in_any_way(jit_compile, chunk_size):
    values = tf.constant(np.arange(1.0, 8.0))

    def totals(values):
        initial = {"sum": tf.constant(0.0, tf.float64), "largest": tf.constant(0.0, tf.float64)}
        return reduce_over_chunks(
            lambda chunk, weights: {"sum": tf.reduce_sum(weights * chunk), "largest": tf.reduce_max(chunk)},
            lambda a, b: {"sum": a["sum"] + b["sum"], "largest": tf.maximum(a["largest"], b["largest"])},
            initial,
            values,
            tf.ones_like(values),
            chunk_size,
        )

    result = run(totals, values, jit_compile=jit_compile)
    assert {name: float(value) for name, value in result.items()} == {"sum": 28.0, "largest": 7.0}


@CASES
def test_a_map_keeps_the_order_of_rows_and_accepts_nests_of_other_dtypes(jit_compile, chunk_size):
    rows = {"bytes": tf.constant(range(7), tf.uint8), "more": (tf.range(14.0, delta=2.0), tf.ones([7, 2]))}

    def columns(rows):
        assert rows["bytes"].dtype == tf.uint8
        return tf.concat([tf.cast(rows["bytes"], tf.float32)[:, None], rows["more"][1] * rows["more"][0][:, None]], 1)

    result = run(lambda rows: map_over_chunks(columns, rows, chunk_size), rows, jit_compile=jit_compile)
    assert result.shape == [7, 3]
    np.testing.assert_array_equal(result, np.outer(np.arange(7), [1, 2, 2]))


def test_rows_that_take_more_memory_make_smaller_chunks():
    assert chunk_size_for(tf.zeros([5, 376])) == chunk_size_for(tf.zeros([0])) == 32_768
    images = tf.zeros([2, 84, 84, 4], tf.uint8)
    in_float32 = 4 * 84 * 84 * 4
    assert chunk_size_for(images) == 2**26 // (2 * in_float32)
    assert chunk_size_for({"one": images, "other": (images,)}) == 2**26 // (4 * in_float32)
    assert chunk_size_for(tf.TensorSpec([None, 2**30])) == 1


def test_gradients_are_taken_within_a_chunk():
    theta, rows = tf.constant(3.0), tf.range(1.0, 6.0)

    def gradient(chunk, weights):
        with tf.GradientTape() as tape:
            tape.watch(theta)
            total = tf.reduce_sum(weights * chunk * theta**2)
        return tape.gradient(total, theta)

    total = tf.function(lambda: reduce_over_chunks(gradient, operator.add, tf.constant(0.0), rows, tf.ones(5), 2))()
    assert float(total) == 15 * 2 * 3


def test_an_unknown_number_of_samples_is_refused():
    run = tf.function(lambda rows: map_over_chunks(tf.identity, rows, 2), input_signature=[tf.TensorSpec([None, 1])])
    with pytest.raises(ValueError, match="static"):
        run(tf.zeros([3, 1]))

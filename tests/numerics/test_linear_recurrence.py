"""The logarithmic scan against a loop."""

import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.numerics import linear_recurrence


def looped(decay, inputs, reverse):
    result = np.zeros_like(inputs)
    previous = np.zeros_like(inputs[0])
    rows = range(len(inputs))
    for t in reversed(rows) if reverse else rows:
        previous = decay[t] * previous + inputs[t]
        result[t] = previous
    return result


def random_rows(length, trailing, dtype=np.float64):
    generator = np.random.default_rng(length)
    decay = generator.uniform(-1.2, 1.2, (length, *trailing)).astype(dtype)
    return decay, generator.normal(size=(length, *trailing)).astype(dtype)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", range(1, 41))
def test_every_length_agrees_with_a_loop(length, reverse):
    for trailing in [(), (3,), (2, 3)]:
        decay, inputs = random_rows(length, trailing)
        result = linear_recurrence(tf.constant(decay), tf.constant(inputs), reverse=reverse)
        np.testing.assert_allclose(result, looped(decay, inputs, reverse), rtol=1e-9, atol=1e-10, strict=True)


@pytest.mark.parametrize("reverse", [False, True])
def test_compiled_float32_agrees_with_a_loop(reverse):
    decay, inputs = random_rows(37, (4,), np.float32)
    compiled = tf.function(lambda *rows: linear_recurrence(*rows, reverse=reverse), jit_compile=True)
    np.testing.assert_allclose(compiled(decay, inputs), looped(decay, inputs, reverse), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("reverse", [False, True])
def test_without_decay_it_is_a_cumulative_sum(reverse):
    _, inputs = random_rows(23, (2,))
    expected = np.cumsum(inputs[::-1], axis=0)[::-1] if reverse else np.cumsum(inputs, axis=0)
    result = linear_recurrence(tf.ones_like(inputs), tf.constant(inputs), reverse=reverse)
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-12)


def test_zero_decay_lets_nothing_through():
    decay, inputs = random_rows(20, ())
    decay[8] = 0.0
    changed = inputs.copy()
    changed[:8] = 1e9
    before, after = (linear_recurrence(tf.constant(decay), tf.constant(rows)).numpy() for rows in (inputs, changed))
    np.testing.assert_array_equal(before[8:], after[8:])
    changed = inputs.copy()
    changed[9:] = 1e9
    before, after = (
        linear_recurrence(tf.constant(decay), tf.constant(rows), reverse=True).numpy() for rows in (inputs, changed)
    )
    np.testing.assert_array_equal(before[:9], after[:9])

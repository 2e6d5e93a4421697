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
    decay[generator.random(decay.shape) < 0.1] = 0.0
    return decay, generator.normal(size=(length, *trailing)).astype(dtype)


@pytest.mark.parametrize("reverse", [False, True])
def test_every_length_agrees_with_a_loop(reverse):
    for length in (*range(1, 19), 31, 32, 33, 40):
        decay, inputs = random_rows(length, [(), (3,), (2, 3)][length % 3])
        result = linear_recurrence(tf.constant(decay), tf.constant(inputs), reverse=reverse)
        np.testing.assert_allclose(result, looped(decay, inputs, reverse), rtol=1e-9, atol=1e-10, strict=True)


@pytest.mark.parametrize("reverse", [False, True])
def test_compiled_float32_agrees_with_a_loop(reverse):
    decay, inputs = random_rows(37, (4,), np.float32)
    compiled = tf.function(lambda *rows: linear_recurrence(*rows, reverse=reverse), jit_compile=True)
    np.testing.assert_allclose(compiled(decay, inputs), looped(decay, inputs, reverse), rtol=1e-3, atol=1e-4)

"""Schedules against their closed forms."""

import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.numerics.schedules import geometric, linear

PROGRESS = [0.0, 0.1, 1 / 3, 0.5, 0.9, 1.0]


@pytest.mark.parametrize(("start", "end"), [(0.04, 0.01), (1.5, 0.3), (1e-3, 1e3)])
def test_schedules_are_straight_lines_in_the_value_and_in_its_logarithm(start, end):
    for progress in PROGRESS:
        assert float(linear(start, end, progress)) == pytest.approx(start + progress * (end - start), rel=1e-14)
        expected = np.exp(np.log(start) + progress * (np.log(end) - np.log(start)))
        assert float(geometric(start, end, progress)) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("schedule", [linear, geometric])
def test_the_ends_are_exact_and_are_never_passed(schedule):
    for progress, value in [(0.0, 0.1), (1.0, 0.003), (-0.5, 0.1), (1.5, 0.003)]:
        for given in (progress, tf.constant(progress), tf.constant(progress, tf.float64)):
            result = schedule(0.1, 0.003, given)
            assert result.dtype == tf.float64
            assert float(result) == value


def test_a_number_is_not_rounded_to_float32():
    assert float(linear(0.0, 1.0, 0.1)) == 0.1
    compiled = tf.function(lambda progress: linear(0.0, 1.0, progress), jit_compile=True)
    assert float(compiled(tf.constant(0.1, tf.float64))) == 0.1

"""Schedules against their closed forms."""

import pytest
import tensorflow as tf

from tf_trpo.numerics.schedules import linear

PROGRESS = [0.0, 0.1, 1 / 3, 0.5, 0.9, 1.0]


@pytest.mark.parametrize(("start", "end"), [(0.04, 0.01), (1.5, 0.3), (1e-3, 1e3)])
def test_a_linear_schedule_is_a_straight_line(start, end):
    for progress in PROGRESS:
        assert float(linear(start, end, progress)) == pytest.approx(start + progress * (end - start), rel=1e-14)


def test_the_ends_are_exact_and_progress_is_clipped():
    for progress, value in [(0.0, 0.1), (1.0, 0.003), (-0.5, 0.1), (1.5, 0.003)]:
        for given in (progress, tf.constant(progress), tf.constant(progress, tf.float64)):
            result = linear(0.1, 0.003, given)
            assert result.dtype == tf.float64
            assert float(result) == value


def test_a_number_is_not_rounded_to_float32():
    assert float(linear(0.0, 1.0, 0.1)) == 0.1
    compiled = tf.function(lambda progress: linear(0.0, 1.0, progress), jit_compile=True)
    assert float(compiled(tf.constant(0.1, tf.float64))) == 0.1

"""The step length reaches the limit of the KL exactly."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tf_trpo.numerics import step_length_for_kl


@given(seed=st.integers(0, 10_000), size=st.integers(1, 10), max_kl=st.floats(1e-6, 10.0), double=st.booleans())
def test_quadratic_model_of_the_kl_is_the_limit(seed, size, max_kl, double):
    dtype = np.float64 if double else np.float32
    generator = np.random.default_rng(seed)
    factor = generator.normal(size=(size, size))
    fisher = (factor @ factor.T + np.eye(size)).astype(dtype)
    direction = generator.normal(size=size).astype(dtype)
    length = step_length_for_kl(tf.constant(direction), tf.constant(fisher @ direction), max_kl)
    assert length.dtype == dtype
    step = length.numpy() * direction
    np.testing.assert_allclose(step @ fisher @ step / 2, max_kl, rtol=1e-12 if double else 1e-4)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("image", [[0.0, 0.0], [-1.0, -1.0], [2.0, -1.0], [np.nan, 1.0], [np.inf, 1.0], [-np.inf, 1.0]])
def test_length_is_zero_without_positive_finite_curvature(image, jit_compile):
    run = tf.function(lambda *vectors: step_length_for_kl(*vectors, 0.01), jit_compile=jit_compile)
    assert run(tf.constant([1.0, 2.0]), tf.constant(image)) == 0.0


@pytest.mark.parametrize("image", [[0.0, 0.0], [-1e-9, 0.0]], ids=["underflow", "rounding"])
def test_damped_curvature_replaces_one_that_is_lost_to_rounding(image):
    direction, damping = np.array([3.0, 4.0]), 0.1
    length = step_length_for_kl(tf.constant(direction), tf.constant(image, tf.float64), 0.01, damping=damping)
    step = length.numpy() * direction
    np.testing.assert_allclose(damping * step @ step / 2, 0.01, rtol=1e-8)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e-19, 1e-18, 1e18, 1e20])
def test_the_length_is_inverse_to_the_direction_in_float32(scale):
    """The squares of the direction underflow or overflow, and the damping has no part in the length."""
    direction = tf.constant([3.0, -4.0]) * scale
    length = step_length_for_kl(direction, 1e-3 * direction, 0.01, damping=0.1)
    np.testing.assert_allclose(length * scale, np.sqrt(2 * 0.01 / (1e-3 * 25)), rtol=1e-5)


def test_a_length_that_float32_cannot_hold_is_0():
    assert step_length_for_kl(tf.constant([2e-38, 0.0]), tf.zeros([2]), 0.1, damping=1e-3) == 0.0


def test_damping_does_not_change_a_positive_curvature():
    vectors = tf.constant([3.0, 4.0]), tf.constant([0.5, 0.5])
    assert step_length_for_kl(*vectors, 0.01, damping=5.0) == step_length_for_kl(*vectors, 0.01)

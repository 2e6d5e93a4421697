"""Moments against NumPy's over the samples."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tf_trpo.estimation import Moments, combined_moments, explained_variance, weighted_mean, weighted_moments

SEEDS = st.integers(0, 10_000)
TRAILING = st.sampled_from([(), (3,), (2, 2)])
NOTHING = (0.0, np.inf)
"""Mean and variance of a set without samples, which may be any numbers."""


def random_weights(generator, size):
    weights = generator.random(size) * (generator.random(size) < 0.7)
    weights[-1] += 0.1
    return weights / weights.sum()


def moments_of(samples, trailing):
    mean, variance = (samples.mean(axis=0), samples.var(axis=0)) if len(samples) else NOTHING
    rows = (np.broadcast_to(mean, trailing), np.broadcast_to(variance, trailing), float(len(samples)))
    return Moments(*(tf.constant(array, tf.float64) for array in rows))


def explained(predictions, targets, weights=None, dtype=tf.float64):
    weights = np.full(len(targets), 1 / len(targets)) if weights is None else weights
    return explained_variance(*(tf.constant(array, dtype) for array in (predictions, targets, weights))).numpy()


@given(seed=SEEDS, size=st.integers(1, 40), garbage=st.sampled_from([1e30, np.nan, np.inf, -np.inf]))
def test_weighted_mean_is_numpys_for_any_samples_of_weight_0(seed, size, garbage):
    generator = np.random.default_rng(seed)
    samples, weights = generator.normal(size=size), random_weights(generator, size)
    result = weighted_mean(tf.constant(np.where(weights > 0, samples, garbage)), tf.constant(weights))
    np.testing.assert_allclose(result, np.average(samples, weights=weights), rtol=1e-12, atol=1e-14)


@given(seed=SEEDS, size=st.integers(1, 40), trailing=TRAILING, shift=st.sampled_from([0.0, 1e6]))
def test_weighted_moments_are_numpys(seed, size, trailing, shift):
    generator = np.random.default_rng(seed)
    samples, weights = shift + generator.normal(size=(size, *trailing)), random_weights(generator, size)
    mean, variance = weighted_moments(tf.constant(samples), tf.constant(weights))
    expected = np.average(samples, axis=0, weights=weights)
    np.testing.assert_allclose(mean, expected, rtol=1e-12, atol=1e-14)
    spread = np.average((samples - expected) ** 2, axis=0, weights=weights)
    np.testing.assert_allclose(variance, spread, rtol=1e-6, atol=1e-10)
    assert mean.shape == variance.shape == trailing


@given(seed=SEEDS, size=st.integers(2, 40), garbage=st.sampled_from([1e30, np.nan, np.inf, -np.inf]))
def test_samples_of_weight_0_do_not_change_the_moments(seed, size, garbage):
    generator = np.random.default_rng(seed)
    samples, weights = generator.normal(size=(size, 2)), random_weights(generator, size)
    dirty = np.where(weights[:, None] > 0, samples, garbage)
    clean, dirty = (weighted_moments(tf.constant(rows), tf.constant(weights)) for rows in (samples, dirty))
    np.testing.assert_array_equal(dirty, clean)


@given(value=st.floats(-1e6, 1e6, width=32), size=st.integers(1, 50))
def test_equal_samples_have_exactly_that_mean_and_variance_0(value, size):
    mean, variance = weighted_moments(tf.fill([size], value), tf.fill([size], 1.0 / size))
    assert mean == value
    assert variance == 0.0


@pytest.mark.parametrize("jit_compile", [False, True])
def test_float32_moments_survive_a_large_offset(jit_compile):
    samples = (1e4 + np.random.default_rng(0).normal(size=2048)).astype(np.float32)
    moments = tf.function(weighted_moments, jit_compile=jit_compile)
    mean, variance = moments(tf.constant(samples), tf.fill([2048], 1.0 / 2048))
    np.testing.assert_allclose(mean, samples.astype(np.float64).mean(), rtol=1e-7)
    np.testing.assert_allclose(variance, samples.astype(np.float64).var(), rtol=1e-5)


@given(seed=SEEDS, first=st.integers(0, 12), second=st.integers(0, 12), trailing=TRAILING)
def test_combined_moments_are_those_of_the_concatenation(seed, first, second, trailing):
    generator = np.random.default_rng(seed)
    one = generator.normal(size=(first, *trailing))
    other = generator.normal(3.0, 5.0, size=(second, *trailing))
    combined = combined_moments(moments_of(one, trailing), moments_of(other, trailing))
    expected = moments_of(np.concatenate([one, other]), trailing)
    for tensor, array in zip(combined, expected, strict=True):
        np.testing.assert_allclose(tensor, array, rtol=1e-10, atol=1e-12)


def test_a_second_set_without_samples_may_have_moments_that_are_not_finite():
    one, empty = moments_of(np.ones((3, 2)), (2,)), moments_of(np.zeros((0, 2)), (2,))
    nothing = empty._replace(mean=tf.fill([2], tf.constant(np.nan, tf.float64)))
    np.testing.assert_array_equal(combined_moments(one, nothing).mean, one.mean)


@given(seed=SEEDS, size=st.integers(2, 40))
def test_explained_variance_agrees_with_numpy_over_valid_samples(seed, size):
    generator = np.random.default_rng(seed)
    targets, noise = generator.normal(size=(2, size))
    valid = generator.random(size) < 0.7
    valid[:2] = True
    predictions = np.where(valid, targets + noise, 1e6)
    expected = 1 - noise[valid].var() / targets[valid].var()
    np.testing.assert_allclose(explained(predictions, targets, valid / valid.sum()), expected, rtol=1e-8)


def test_explained_variance_is_1_for_the_targets_and_0_for_their_mean():
    targets = np.array([1.0, 2.0, 6.0])
    assert explained(targets, targets) == 1.0
    assert explained(targets + 5.0, targets) == 1.0
    np.testing.assert_allclose(explained(np.full(3, 3.0), targets), 0.0, atol=1e-12)
    assert explained(-targets, targets) == pytest.approx(-3.0)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
@pytest.mark.parametrize("value", [0.0, 0.1, 1000.1])
def test_explained_variance_of_targets_that_do_not_vary_is_nan(value, dtype):
    targets = np.full(7, value)
    assert np.isnan(explained(targets, targets, dtype=dtype))
    assert np.isnan(explained(np.arange(7.0), targets, dtype=dtype))

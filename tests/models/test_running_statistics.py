"""Running normalisation of observations and running scale of rewards."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.estimation import Moments
from tf_trpo.models import RunningNormalization, RunningReturnScale


def moments(samples, dtype=tf.float64):
    return Moments(
        tf.constant(samples.mean(axis=0), dtype),
        tf.constant(samples.var(axis=0), dtype),
        tf.constant(len(samples), dtype),
    )


def batches(seed=0):
    """Batches of unequal size, mean and spread."""
    rng = np.random.default_rng(seed)
    return [rng.normal(place, spread, size=(size, 3)) for size, place, spread in [(5, 0, 1), (70, 20, 3), (31, -4, 9)]]


def updated(layer, samples):
    for batch in samples:
        if isinstance(layer, RunningReturnScale):
            layer.update(moments(batch, tf.float32))
        else:
            layer.update(layer.begin(moments(batch), tf.constant(True), absorbed_by=None))
    return layer


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("count", [1, 3])
def test_statistics_are_those_of_all_samples_and_a_call_standardises_by_them(count, offset):
    """The first batch replaces the initial statistics, and numbers far from 0 keep their precision."""
    samples = [offset + batch for batch in batches()[:count]]
    layer, together = updated(RunningNormalization((3,)), samples), np.concatenate(samples)
    np.testing.assert_allclose(layer.mean, together.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(layer.variance, together.var(axis=0), rtol=1e-5)
    assert layer.count.numpy() == len(together)
    expected = (together - together.mean(axis=0)) / together.std(axis=0)
    np.testing.assert_allclose(layer(together), expected, rtol=1e-4, atol=1e-5)


def test_an_empty_batch_and_a_call_change_nothing():
    layer = updated(RunningNormalization((3,)), batches())
    before = layer.get_weights()
    layer(np.full([50, 3], 100.0, np.float32), training=True)
    empty = Moments(*(tf.constant(value, tf.float64) for value in ([0.0] * 3, [np.inf] * 3, 0.0)))
    assert layer.update(layer.begin(empty, tf.constant(True), absorbed_by=None))
    for weight, value in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_before_any_update_a_call_changes_nothing():
    samples = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    for layer in (RunningNormalization((3,)), RunningReturnScale()):
        np.testing.assert_allclose(layer(samples), samples, rtol=1e-6)


@pytest.mark.parametrize("clip", [2.0, 10.0])
def test_call_clips_on_both_sides(clip):
    layer = updated(RunningNormalization((3,), clip=clip), batches())
    extremes = np.float32([[1e6] * 3, [-1e6] * 3])
    np.testing.assert_array_equal(layer(extremes), np.sign(extremes) * clip)


def test_a_constant_coordinate_becomes_zero_not_nan():
    samples = batches()[1].copy()
    samples[:, 1] = 7.0
    layer = updated(RunningNormalization((3,)), [samples])
    np.testing.assert_array_equal(layer(samples.astype(np.float32)).numpy()[:, 1], np.zeros(len(samples)))


def test_a_coordinate_below_min_std_is_divided_by_min_std():
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(400, 3)) * [5.0, 0.01, 0.2]
    layer = updated(RunningNormalization((3,), min_std=0.2), [samples[:150], samples[150:]])
    expected = (samples - samples.mean(axis=0)) / np.maximum(samples.std(axis=0), 0.2)
    np.testing.assert_allclose(layer(samples.astype(np.float32)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("min_std", [-0.1, np.inf, np.nan])
def test_an_invalid_min_std_is_refused(min_std):
    with pytest.raises(ValueError, match="min_std must be finite and not negative"):
        RunningNormalization((3,), min_std=min_std)


def test_return_scale_divides_by_the_standard_deviation_and_subtracts_nothing():
    rng = np.random.default_rng(0)
    returns = [rng.normal(100.0, 5.0, size=300), rng.normal(80.0, 2.0, size=50)]
    layer = updated(RunningReturnScale(), returns)
    rewards = np.array([[-3.0, 0.0], [1.0, 40.0]], np.float32)
    np.testing.assert_allclose(layer(rewards), rewards / np.concatenate(returns).std(), rtol=1e-5)


@pytest.mark.parametrize(
    ("layer", "weights"),
    [
        (RunningNormalization((2, 3), clip=4.0, min_std=0.5, resolution=1e-3, name="here"), 5),
        (RunningReturnScale(name="there"), 3),
    ],
)
def test_config_round_trip_and_no_trainable_weights(layer, weights):
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(copy) is type(layer)
    assert copy.get_config() == layer.get_config()
    assert (len(layer.weights), layer.trainable_variables) == (weights, [])


def test_constant_returns_set_no_scale():
    scale = RunningReturnScale()
    scale.update(Moments(tf.constant(5.0), tf.constant(0.0), tf.constant(10.0)))
    np.testing.assert_array_equal(scale(tf.constant([1.0, -2.0])), [1, -2])


def test_infinite_variances_count_as_the_largest_number_and_rounding_does_not_count_as_spread():
    largest = float(np.finfo(np.float32).max)
    for variance, resolution, expected in ((np.inf, 0.0, largest), (9.0, 1e-8, largest), (9.0, 1e-12, 3.0)):
        layer = RunningNormalization((1,), resolution=resolution)
        samples = Moments(*(tf.constant(x, tf.float64) for x in ([1e9], [variance], 9.0)))
        assert layer.update(layer.begin(samples, tf.constant(True), absorbed_by=None))
        np.testing.assert_array_equal(layer.scale, np.float32([expected]))


@pytest.mark.parametrize("min_std", [0.0, 0.01])
def test_the_rounding_error_of_a_constant_feature_is_not_amplified(min_std):
    """Seconds since 1970 in float32, which are multiples of 128."""
    seconds = 1.7e9 + np.arange(0.0, 256.0, 4.0)
    samples = np.float32(np.stack([seconds, 0.0 * seconds, 0.0 * seconds + 0.25], axis=1))
    assert samples[:, 0].std() > 50
    layer = RunningNormalization((3,), min_std=min_std, resolution=4 * np.finfo(np.float32).eps)
    updated(layer, [samples.astype(np.float64)])
    assert np.abs(layer(samples)).max() < 0.25
    if min_std:
        np.testing.assert_allclose(layer.scale[1:], [min_std] * 2)
    else:
        np.testing.assert_allclose(layer(samples + np.float32([0, 1e6, 1e-6])), 0.0 * samples, atol=1e-30)

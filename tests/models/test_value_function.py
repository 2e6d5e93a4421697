"""The value function: shapes, start, seeds and config."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.models import Encoder, ValueFunction, mlp


def normals(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def make_value_function(observation_shape, seed=0, **kwargs):
    return ValueFunction(Encoder(observation_shape, 1, function_preserving=False, output_gain=1.0, seed=seed, **kwargs))


@pytest.mark.parametrize("observation_shape", [(), (3,), (4, 5), (6, 6, 2)])
@pytest.mark.parametrize("batch", [1, 7])
def test_one_value_for_each_observation(observation_shape, batch):
    value_function = make_value_function(observation_shape, network=mlp(observation_shape, (8,), seed=0))
    assert value_function(normals(batch, *observation_shape)).shape == (batch,)


def test_values_are_the_linear_output_of_the_normalised_features():
    network = keras.Sequential([keras.Input((2,)), keras.layers.Identity()])
    value_function = make_value_function((2,), network=network)
    value_function.encoder.normalization.mean.assign([1.0, 2.0])
    value_function.encoder.normalization.variance.assign([4.0, 9.0])
    value_function.encoder.output_layer.kernel.assign([[3.0], [-1.0]])
    value_function.encoder.output_layer.bias.assign([0.5])
    np.testing.assert_allclose(value_function(tf.constant([[5.0, 8.0]])), [3.0 * 2 - 1.0 * 2 + 0.5], rtol=1e-6)


def test_same_seed_gives_the_same_weights_and_another_seed_others():
    first, again, other = (make_value_function((3,), seed=seed) for seed in (1, 1, 2))
    for one, two in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    observations = normals(5, 3)
    assert not np.any(first(observations).numpy() == other(observations).numpy())


@pytest.mark.parametrize("normalize_observations", [False, True])
def test_config_round_trip_keeps_settings_and_function(normalize_observations):
    network = mlp((3,), (5,), seed=0)
    value_function = make_value_function((3,), network=network, normalize_observations=normalize_observations)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(value_function))
    assert (copy.encoder.normalization is None) == (not normalize_observations)
    copy.set_weights(value_function.get_weights())
    np.testing.assert_array_equal(copy(normals(5, 3)), value_function(normals(5, 3)))


def test_an_encoder_of_several_outputs_is_refused():
    with pytest.raises(ValueError, match="one output, not 2"):
        ValueFunction(Encoder((3,), 2))

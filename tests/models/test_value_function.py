"""The value function: shapes and config."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.models import Encoder, ValueFunction, mlp


def normals(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def make_value_function(observation_shape, **kwargs):
    return ValueFunction(Encoder(observation_shape, 1, function_preserving=False, output_gain=1.0, seed=0, **kwargs))


@pytest.mark.parametrize("observation_shape", [(), (3,), (4, 5), (6, 6, 2)])
@pytest.mark.parametrize("batch", [1, 7])
def test_the_value_of_each_observation_is_the_encoders_one_output(observation_shape, batch):
    value_function = make_value_function(observation_shape, network=mlp(observation_shape, (8,), seed=0))
    observations = tf.constant(normals(batch, *observation_shape))
    values = value_function(observations)
    assert values.shape == (batch,)
    np.testing.assert_array_equal(values, value_function.encoder(observations)[:, 0])


@pytest.mark.parametrize("normalize_observations", [False, True])
def test_config_round_trip_keeps_settings_and_function(normalize_observations):
    network = mlp((3,), (5,), seed=0)
    value_function = make_value_function((3,), network=network, normalize_observations=normalize_observations)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(value_function))
    assert (copy.encoder.normalization == []) == (not normalize_observations)
    copy.set_weights(value_function.get_weights())
    np.testing.assert_array_equal(copy(normals(5, 3)), value_function(normals(5, 3)))


def test_an_encoder_of_several_outputs_is_refused():
    with pytest.raises(ValueError, match="one output, not 2"):
        ValueFunction(Encoder((3,), 2))

"""The value function: values and config."""

import gymnasium as gym
import keras
import numpy as np
import pytest

from tf_trpo.models import Encoder, MirrorSymmetry, PolicySettings, ValueFunction, ValueSettings, mlp
from tf_trpo.models.making import make_value_functions


def normals(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("shape", [(), (4, 5)])
def test_values_are_the_encoders_only_output_even_after_loading(shape, normalized):
    encoder = Encoder(shape, 1, network=mlp(shape, (5,)), output_gain=1.0, normalize_observations=normalized)
    value_function, observations = ValueFunction(encoder), normals(7, *shape)
    values = value_function(observations)
    assert values.shape == (7,)
    np.testing.assert_array_equal(values, encoder(observations)[:, 0])
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(value_function))
    assert (copy.encoder.normalization == []) == (not normalized)
    copy.set_weights(value_function.get_weights())
    np.testing.assert_array_equal(copy(observations), values)


def test_an_encoder_of_several_outputs_is_refused():
    with pytest.raises(ValueError, match="one output, not 2"):
        ValueFunction(Encoder((3,), 2))


@pytest.mark.parametrize("mirror", [None, MirrorSymmetry.from_names("height -lean", "-torque")])
def test_value_functions_of_costs_have_copies_of_a_given_network(mirror):
    space, network = gym.spaces.Box(-1.0, 1.0, (2,), np.float32), mlp((2,), (5,))
    made = make_value_functions(PolicySettings(), ValueSettings(), space, 3, network, mirror=mirror, seed=0)
    encoders = [each.encoder if mirror is None else each.encoder.encoder for each in made]
    assert encoders[0].network is network
    assert len({id(each.network) for each in encoders}) == 3
    for encoder in encoders[1:]:
        for weight, given in zip(encoder.network.get_weights(), network.get_weights(), strict=True):
            np.testing.assert_array_equal(weight, given)

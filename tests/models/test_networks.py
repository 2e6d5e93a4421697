"""Networks: the default one for any nest of observation parts, against loops, and the MLP."""

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.models import mlp
from tf_trpo.models.networks import (
    MIDDLE,
    NATURE,
    SMALL,
    convolutions_for,
    default_network,
)
from tf_trpo.spaces import flatten_to, observation_spec, parts, without_masks
from tf_trpo.spaces.specs import channels_first

Box = gym.spaces.Box
RNG = np.random.default_rng(0)


def normals(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def image(*shape):
    return Box(0, 255, shape, np.uint8)


def inputs_of(spec, rows=3):
    spec = without_masks(spec, spec)
    if isinstance(spec, dict):
        return {name: inputs_of(part) for name, part in spec.items()}
    if isinstance(spec, tuple):
        return tuple(map(inputs_of, spec))
    return RNG.normal(size=(rows, *spec.input_shape)).astype(np.float32)


def convolved(images, kernel, bias, stride):
    """A convolution without padding, and ReLU, pixel by pixel."""
    height, width, _, filters = kernel.shape
    rows, columns = (images.shape[1] - height) // stride + 1, (images.shape[2] - width) // stride + 1
    result = np.empty((len(images), rows, columns, filters), np.float32)
    for i in range(rows):
        for j in range(columns):
            patch = images[:, i * stride : i * stride + height, j * stride : j * stride + width]
            result[:, i, j] = np.tensordot(patch, kernel, 3) + bias
    return np.maximum(result, 0)


def by_hand(network, spec, inputs):
    """The output of the network, by loops over its weights."""
    spec = without_masks(spec, spec)
    features = []
    for i, ((_, part), values) in enumerate(zip(parts(spec), flatten_to(spec, inputs), strict=True)):
        if part.kind == "image":
            if channels_first(part.shape):
                values = values.transpose(0, 2, 3, 1)
            for j, chosen in enumerate(convolutions_for(*values.shape[1:3])):
                layer = network.get_layer(f"part.{i}.convolution.{j}")
                assert layer.kernel.shape[0] == layer.kernel.shape[1] == chosen.size
                assert layer.kernel.shape[3] == chosen.filters
                values = convolved(values, *layer.get_weights(), chosen.stride)
        features.append(values.reshape(len(values), -1))
    joined = np.concatenate(features, axis=1)
    for layer in network.layers:
        if isinstance(layer, keras.layers.Dense):
            kernel, bias = layer.get_weights()
            joined = np.tanh(joined @ kernel + bias)
    return joined


SPACES = {
    "small image": image(7, 7, 3),
    "smallest image": image(5, 5, 1),
    "a strip": image(2, 9, 5),
    "middle image": image(18, 20, 2),
    "stacked frames": image(4, 64, 64),
    "dict": gym.spaces.Dict(
        image=image(6, 6, 3),
        direction=gym.spaces.Discrete(4),
        joined=Box(-1, 1, (2, 3)),
        number=Box(-1, 1, ()),
        action_mask=gym.spaces.MultiBinary(4),
    ),
    "nest": gym.spaces.Tuple(
        [gym.spaces.MultiBinary(3), gym.spaces.Dict({"my image": image(5, 6, 3), "x.y": Box(-1, 1, (2,))})]
    ),
    "dict of vectors": gym.spaces.Dict(b=Box(-1, 1, (2,)), a=gym.spaces.MultiDiscrete([2, 3])),
}


@pytest.mark.parametrize("name", SPACES)
def test_images_go_through_convolutions_and_all_parts_through_one_mlp(name):
    spec = observation_spec(SPACES[name])
    network = default_network(spec, (5, 4), seed=1)
    inputs = inputs_of(spec)
    expected = by_hand(network, spec, inputs)
    assert expected.shape == (3, 4)
    np.testing.assert_allclose(network(inputs), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "space", [Box(-1, 1, (3,)), Box(-1, 1, (2, 3)), Box(-1, 1, ()), gym.spaces.Discrete(5), gym.spaces.MultiBinary(4)]
)
def test_a_single_part_that_is_not_an_image_gets_the_mlp_alone(space):
    spec = observation_spec(space)
    found, expected = default_network(spec, (8, 4), seed=3), mlp(spec.input_shape, (8, 4), seed=3)
    assert [type(layer) for layer in found.layers] == [type(layer) for layer in expected.layers]
    for one, other in zip(found.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_mask_is_not_an_input_and_a_mask_alone_is_refused():
    mask = gym.spaces.Dict(action_mask=gym.spaces.MultiBinary(4))
    with pytest.raises(ValueError, match="nothing other than an action mask"):
        default_network(observation_spec(mask))
    lone = gym.spaces.Dict(action_mask=gym.spaces.MultiBinary(4), only=Box(-1, 1, (3,)))
    assert default_network(observation_spec(lone)).input_shape == (None, 3)


def test_natures_network_is_the_one_of_atari():
    assert NATURE == ((32, 8, 4), (64, 4, 2), (64, 3, 1))
    for shape in ((84, 84, 4), (4, 84, 84), (64, 96, 3), (210, 160, 3)):
        sides = shape[1:] if channels_first(shape) else shape[:2]
        assert convolutions_for(*sides) == NATURE
    network = default_network(observation_spec(image(4, 84, 84)), (8,), seed=0)
    assert network.get_layer("part.0.convolution.0").kernel.shape == (8, 8, 4, 32)
    assert network.get_layer("part.0.flat").output.shape == (None, 7 * 7 * 64)


def test_every_image_is_large_enough_for_its_convolutions():
    for side in range(1, 100):
        left = side
        for convolution in convolutions_for(side, 200):
            left = (left - convolution.size) // convolution.stride + 1
        assert left >= 1, side
    assert convolutions_for(7, 7) == SMALL
    assert convolutions_for(36, 36) == MIDDLE


def test_config_and_seed_determine_a_network():
    spec = observation_spec(SPACES["dict"])
    one, again, other = (default_network(spec, (5,), seed=seed) for seed in (1, 1, 2))
    config = keras.saving.serialize_keras_object(one)
    layers = config["config"]["layers"]
    assert layers == keras.saving.serialize_keras_object(again)["config"]["layers"]
    for first, second, third in zip(one.get_weights(), again.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)
        assert not first.any() or not np.array_equal(first, third)
    made = keras.saving.deserialize_keras_object(config)
    made.set_weights(one.get_weights())
    inputs = inputs_of(spec)
    np.testing.assert_array_equal(made(inputs), one(inputs))


@pytest.fixture
def keras_with_channels_first():
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format(before)


@pytest.mark.parametrize("name", ["small image", "nest"])
def test_the_order_of_axes_in_keras_own_configuration_has_no_influence(name, keras_with_channels_first):
    test_images_go_through_convolutions_and_all_parts_through_one_mlp(name)
    test_layers_are_dense_with_the_activation_on_observations_of_any_rank((6, 6, 2), "tanh", np.tanh)


def test_no_hidden_layer_is_the_identity():
    inputs = normals(4, 3)
    np.testing.assert_array_equal(mlp((3,), ())(inputs), inputs)


@pytest.mark.parametrize(("activation", "function"), [("tanh", np.tanh), ("relu", lambda x: np.maximum(x, 0))])
@pytest.mark.parametrize("shape", [(), (3,), (6, 6, 2)])
def test_layers_are_dense_with_the_activation_on_observations_of_any_rank(shape, activation, function):
    network = mlp(shape, (8, 5), activation=activation, seed=0)
    features = normals(7, *shape).reshape(7, -1)
    for kernel, bias in zip(network.get_weights()[::2], network.get_weights()[1::2], strict=True):
        features = function(features @ kernel + bias)
    np.testing.assert_allclose(network(normals(7, *shape)), features, rtol=1e-5, atol=1e-6)


def test_kernels_start_orthogonal_with_gain_root_two():
    for kernel in mlp((8,), (8, 8), seed=1).get_weights()[::2]:
        np.testing.assert_allclose(kernel.T @ kernel, 2 * np.eye(8), atol=1e-5)


def test_same_seed_gives_the_same_weights_and_another_seed_others():
    first, again, other = (mlp((8,), (8, 8), seed=seed).get_weights()[::2] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.any(np.equal(first, other))
    assert not np.any(first[0] == first[1])
    assert not np.array_equal(mlp((8,), (8,))(tf.ones([1, 8])), mlp((8,), (8,))(tf.ones([1, 8])))

"""The default network."""

import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.models import mlp


def normals(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("observation_shape", [(), (3,), (4, 5), (6, 6, 2)])
def test_observations_of_any_rank_become_feature_vectors(observation_shape):
    assert mlp(observation_shape, (8, 5))(normals(7, *observation_shape)).shape == (7, 5)


def test_no_hidden_layer_is_the_identity():
    inputs = normals(4, 3)
    np.testing.assert_array_equal(mlp((3,), ())(inputs), inputs)


@pytest.mark.parametrize(("activation", "function"), [("tanh", np.tanh), ("relu", lambda x: np.maximum(x, 0))])
def test_layers_are_dense_with_the_activation(activation, function):
    network = mlp((3,), (8, 5), activation=activation, seed=0)
    features = normals(7, 3)
    for kernel, bias in zip(network.get_weights()[::2], network.get_weights()[1::2], strict=True):
        features = function(features @ kernel + bias)
    np.testing.assert_allclose(network(normals(7, 3)), features, rtol=1e-5, atol=1e-6)


def test_kernels_start_orthogonal_with_gain_root_two():
    for kernel in mlp((8,), (8, 8), seed=1).get_weights()[::2]:
        np.testing.assert_allclose(kernel.T @ kernel, 2 * np.eye(8), atol=1e-5)


def test_same_seed_gives_the_same_weights_and_another_seed_others():
    first, again, other = (mlp((8,), (8, 8), seed=seed).get_weights()[::2] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.any(np.equal(first, other))
    assert not np.any(first[0] == first[1])
    assert not np.array_equal(mlp((8,), (8,))(tf.ones([1, 8])), mlp((8,), (8,))(tf.ones([1, 8])))

"""Every policy: any Keras model as the network, pure function of its flat weights, seeds, configs."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tf_trpo.distributions import Categorical, Gaussian
from tf_trpo.models import Encoder, Policy, ValueFunction


@keras.saving.register_keras_serializable(package="tests")
class TwoLayers(keras.Model):
    """A subclassed network that is built at its first call."""

    def __init__(self, units=6, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.first = keras.layers.Dense(units, "tanh")
        self.second = keras.layers.Dense(units, "tanh")

    def call(self, inputs):
        return self.second(self.first(inputs)) + tf.reduce_sum(inputs, axis=-1, keepdims=True)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def functional():
    inputs = keras.Input((3,))
    hidden = keras.layers.Dense(6, "relu")(inputs)
    return keras.Model(inputs, keras.layers.Concatenate()([keras.layers.Dense(4, "tanh")(hidden), inputs]))


def sequential(*layers):
    return lambda: keras.Sequential([*layers, keras.layers.Dense(5, "tanh")])


NETWORKS = {
    "mlp": (lambda: None, (3,), 6),
    "functional": (functional, (3,), 6),
    "subclassed": (TwoLayers, (3,), 6),
    "sequential without input": (sequential(keras.layers.Dense(6, "tanh")), (3,), 6),
    "convolution": (sequential(keras.layers.Conv2D(4, 3, 2, activation="relu"), keras.layers.Flatten()), (6, 6, 2), 6),
}
any_network = pytest.mark.parametrize("name", list(NETWORKS))


def normals(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def make_policy(name):
    make_network, observation_shape, _ = NETWORKS[name]
    encoder = Encoder(observation_shape, 2, network=make_network(), output_gain=1.0, seed=0)
    return Policy(encoder, Gaussian([-1.0, -1.0], [1.0, 1.0]))


@any_network
def test_all_weights_exist_before_the_first_call(name):
    make_network, observation_shape, expected = NETWORKS[name]
    for model in (
        Policy(Encoder(observation_shape, 4, network=make_network()), Categorical(4)),
        ValueFunction(Encoder(observation_shape, 1, network=make_network())),
    ):
        assert len(model.trainable_variables) == expected


@any_network
def test_parameters_at_given_weights_are_those_after_setting_the_weights(name):
    policy = make_policy(name)
    observations = normals(5, *policy.encoder.spec.shape)
    before = policy.get_weights()
    theta, own = policy.flat_weights, policy.distribution_parameters(observations).numpy()
    np.testing.assert_array_equal(
        theta, np.concatenate([value.numpy().ravel() for value in policy.trainable_variables])
    )
    np.testing.assert_array_equal(policy.parameters_at(theta, observations), own)
    other = theta + 0.3 * normals(theta.shape[0], seed=1)
    pure = policy.parameters_at(other, observations).numpy()
    for value, then in zip(policy.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, then)
    assert not np.allclose(pure, own, atol=0.1)
    with policy.having(other):
        np.testing.assert_array_equal(policy.flat_weights, other)
        np.testing.assert_array_equal(policy.distribution_parameters(observations), pure)
    np.testing.assert_array_equal(policy.flat_weights, theta)


@any_network
def test_every_weight_of_the_network_gets_a_gradient(name):
    policy = make_policy(name)
    observations = normals(20, *policy.encoder.spec.shape)
    theta = policy.flat_weights
    with tf.GradientTape() as tape:
        tape.watch(theta)
        total = tf.reduce_sum(tf.sin(policy.parameters_at(theta, observations)))
    assert np.count_nonzero(tape.gradient(total, theta)) > 0.9 * theta.shape[0]


@any_network
def test_config_round_trip_keeps_the_network(name):
    policy = make_policy(name)
    copy = keras.saving.deserialize_keras_object(json.loads(json.dumps(keras.saving.serialize_keras_object(policy))))
    copy.set_weights(policy.get_weights())
    observations = normals(5, *policy.encoder.spec.shape)
    np.testing.assert_array_equal(
        copy.distribution_parameters(observations), policy.distribution_parameters(observations)
    )


def test_a_network_that_gives_no_feature_vector_is_refused():
    network = keras.Sequential([keras.Input((6, 6, 2)), keras.layers.Conv2D(4, 3)])
    with pytest.raises(ValueError, match=r"one vector of features for each observation"):
        Encoder((6, 6, 2), 3, network=network)


def categorical(**kwargs):
    return Policy(Encoder((3,), 4, output_gain=1.0, seed=0, **kwargs), Categorical(4))


def test_dropout_is_off_so_that_acting_and_updating_use_the_same_policy():
    policy = categorical(network=keras.Sequential([keras.layers.Dense(32), keras.layers.Dropout(0.5)]))
    first, second = (policy.distribution_parameters(tf.ones([2, 3])) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_same_seed_gives_the_same_weights_and_another_seed_others():
    first, again, other = (Encoder((3,), 1, seed=seed).get_weights() for seed in (1, 1, 2))
    for one, same, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one, same)
        assert np.ptp(one) == 0 or np.mean(one == different) < 0.01


def test_layers_of_one_seed_do_not_repeat_each_other():
    policy = Encoder((64,), 64, seed=3, output_gain=1.0)
    first, second, output = (value for value in policy.get_weights() if value.ndim == 2 and value.shape == (64, 64))
    for one, two in [(first, second), (first, output), (second, output)]:
        assert np.mean(np.isclose(one / np.linalg.norm(one), two / np.linalg.norm(two), rtol=1e-3)) < 0.01


def test_without_normalisation_observations_are_not_clipped():
    network = keras.Sequential([keras.Input((3,)), keras.layers.Identity()])
    linear = categorical(network=network, normalize_observations=False)
    small, large = (linear.distribution_parameters(tf.fill([1, 3], size)) for size in (1.0, 1e3))
    np.testing.assert_allclose(large, 1e3 * small.numpy(), rtol=1e-5)


def test_observations_are_normalised_and_clipped_before_the_network():
    network = keras.Sequential([keras.Input((2,)), keras.layers.Identity()])
    policy = Policy(Encoder((2,), 2, network=network, output_gain=1.0, seed=0), Categorical(2))
    [normalization] = policy.encoder.normalization
    for weight, value in (("mean", [10.0, -5.0]), ("scale", [2.0, 0.5]), ("limit", 10.0)):
        getattr(normalization, weight).assign(value)
    observations = np.array([[12.0, -5.25], [1e6, -1e6]], np.float32)
    kernel = policy.encoder.output_layer.kernel.numpy()
    expected = np.array([[1.0, -0.5], [10.0, -10.0]]) @ kernel
    np.testing.assert_allclose(policy.distribution_parameters(observations), expected, rtol=1e-5)


def test_the_weights_of_the_distribution_come_first():
    policy = make_policy("mlp")
    assert policy.weights[0] is policy.trainable_variables[0] is policy.action_distribution.log_std


def test_a_distribution_that_needs_other_outputs_is_refused():
    with pytest.raises(ValueError, match="the encoder has 3 outputs, the action distribution needs 4"):
        Policy(Encoder((3,), 3), Categorical(4))
    with pytest.raises(TypeError, match="must be an ActionDistribution"):
        Policy(Encoder((3,), 3), tfp.distributions.Normal)


def test_a_distribution_that_inherits_from_a_final_one_is_refused():
    """A Gaussian's closed forms of metric and clipped likelihood are wrong for any other distribution."""

    class Laplace(Gaussian):
        def distribution(self, parameters):
            mean, log_scale = tf.split(parameters, 2, axis=-1)
            return tfp.distributions.Independent(tfp.distributions.Laplace(mean, tf.exp(log_scale)), 1)

    with pytest.raises(ValueError, match="Laplace inherits from Gaussian, which is final"):
        Policy(Encoder((3,), 1), Laplace([-1.0], [1.0]))

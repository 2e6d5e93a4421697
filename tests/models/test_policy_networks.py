"""What holds for every policy: any Keras model as the network, pure function of its flat weights, seeds, configs."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tf_trpo.models import CategoricalPolicy, GaussianPolicy, Policy, ValueFunction


@keras.saving.register_keras_serializable(package="tests")
class TwoLayers(keras.Model):
    """A subclassed network that is built when it is first called."""

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


def convolution():
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            keras.layers.Conv2D(4, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(5, "tanh"),
        ]
    )


def sequential_without_input():
    return keras.Sequential([keras.layers.Dense(6, "tanh"), keras.layers.Dense(5, "tanh")])


NETWORKS = {
    "mlp": (lambda: None, (3,), 6),
    "functional": (functional, (3,), 7),
    "subclassed": (TwoLayers, (3,), 7),
    "sequential without input": (sequential_without_input, (3,), 7),
    "convolution": (convolution, (6, 6, 2), 7),
}
any_network = pytest.mark.parametrize("name", list(NETWORKS))


def normals(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def make_policy(name):
    make_network, observation_shape, _ = NETWORKS[name]
    low, high = [-1.0, -1.0], [1.0, 1.0]
    return GaussianPolicy(observation_shape, low, high, network=make_network(), output_gain=1.0, seed=0)


@any_network
def test_all_weights_are_there_before_the_first_call(name):
    make_network, observation_shape, expected = NETWORKS[name]
    network = make_network()
    policy = CategoricalPolicy(observation_shape, 4, network=network, seed=0)
    assert len(policy.trainable_variables) == (6 if name == "mlp" else expected - 1)
    value_function = ValueFunction(observation_shape, network=make_network(), seed=0)
    assert len(value_function.trainable_variables) == (6 if name == "mlp" else expected - 1)


@any_network
def test_parameters_at_the_flat_weights_are_the_distribution_parameters(name):
    policy = make_policy(name)
    observations = normals(5, *policy.observation_shape)
    theta = policy.flat_weights
    expected = policy.distribution_parameters(observations).numpy()
    np.testing.assert_array_equal(policy.parameters_at(theta, observations), expected)


@any_network
def test_parameters_at_other_weights_are_those_after_setting_them(name):
    policy = make_policy(name)
    observations = normals(5, *policy.observation_shape)
    before = [variable.numpy() for variable in policy.weights]
    theta = policy.flat_weights
    other = theta + 0.3 * normals(theta.shape[0], seed=1)
    pure = policy.parameters_at(other, observations).numpy()
    for variable, value in zip(policy.weights, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    position = 0
    for variable in policy.trainable_variables:
        size = int(np.prod(variable.shape))
        variable.assign(tf.reshape(other[position : position + size], variable.shape))
        position += size
    assert position == other.shape[0]
    assert not np.allclose(pure, policy.parameters_at(theta, observations).numpy(), atol=0.1)
    np.testing.assert_array_equal(policy.distribution_parameters(observations), pure)


@any_network
def test_every_weight_of_the_network_gets_a_gradient(name):
    policy = make_policy(name)
    observations = normals(20, *policy.observation_shape)
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
    observations = normals(5, *policy.observation_shape)
    np.testing.assert_array_equal(
        copy.distribution_parameters(observations), policy.distribution_parameters(observations)
    )


@pytest.mark.parametrize("model", [lambda **kwargs: CategoricalPolicy((6, 6, 2), 3, **kwargs), ValueFunction])
def test_a_network_that_gives_no_feature_vector_is_refused(model):
    network = keras.Sequential([keras.Input((6, 6, 2)), keras.layers.Conv2D(4, 3)])
    arguments = {"observation_shape": (6, 6, 2)} if model is ValueFunction else {}
    with pytest.raises(ValueError, match=r"one vector of features for each observation"):
        model(network=network, **arguments)


def test_dropout_is_off_so_that_acting_and_updating_see_one_policy():
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(32), keras.layers.Dropout(0.5)])
    policy = CategoricalPolicy((3,), 4, network=network, output_gain=1.0, seed=0)
    first, second = policy.distribution_parameters(tf.ones([2, 3])), policy.distribution_parameters(tf.ones([2, 3]))
    np.testing.assert_array_equal(first, second)


def weights(seed):
    return [value.ravel() for value in GaussianPolicy((3,), [-1.0], [1.0], seed=seed).get_weights()]


def test_same_seed_gives_the_same_weights_and_another_seed_others():
    first, again, other = (np.concatenate(weights(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    kernels = np.concatenate([value for value in weights(1) if np.ptp(value) > 0])
    other_kernels = np.concatenate([value for value in weights(2) if np.ptp(value) > 0])
    assert kernels.size == 3 * 64 + 64 * 64 + 64
    assert np.mean(kernels == other_kernels) < 0.01
    assert first.shape == other.shape


def test_layers_of_one_seed_do_not_repeat_each_other():
    policy = CategoricalPolicy((64,), 64, seed=3, output_gain=1.0)
    first, second, output = (value for value in policy.get_weights() if value.ndim == 2 and value.shape == (64, 64))
    for one, two in [(first, second), (first, output), (second, output)]:
        assert np.mean(np.isclose(one / np.linalg.norm(one), two / np.linalg.norm(two), rtol=1e-3)) < 0.01


def test_without_a_seed_every_policy_is_another():
    assert not np.array_equal(np.concatenate(weights(None)), np.concatenate(weights(None)))


def test_normalization_can_be_left_out():
    policy = CategoricalPolicy((3,), 4, normalize_observations=False, output_gain=1.0, seed=0)
    assert policy.normalization is None
    # Beyond the clipping of a normalised observation, the outputs still move.
    network = keras.Sequential([keras.Input((3,)), keras.layers.Identity()])
    linear = CategoricalPolicy((3,), 4, network=network, normalize_observations=False, output_gain=1.0, seed=0)
    small, large = linear.distribution_parameters(tf.ones([1, 3])), linear.distribution_parameters(tf.fill([1, 3], 1e3))
    np.testing.assert_allclose(large, 1e3 * small.numpy(), rtol=1e-5)


def test_observations_are_normalised_and_clipped_in_front_of_the_network():
    network = keras.Sequential([keras.Input((2,)), keras.layers.Identity()])
    policy = CategoricalPolicy((2,), 2, network=network, output_gain=1.0, seed=0)
    policy.normalization.mean.assign([10.0, -5.0])
    policy.normalization.variance.assign([4.0, 0.25])
    observations = np.array([[12.0, -5.25], [1e6, -1e6]], np.float32)
    kernel = policy.output_layer.kernel.numpy()
    expected = np.array([[1.0, -0.5], [10.0, -10.0]]) @ kernel
    np.testing.assert_allclose(policy.distribution_parameters(observations), expected, rtol=1e-5)


def test_statistics_of_the_normalisation_are_weights_but_not_trainable():
    policy = CategoricalPolicy((3,), 4, seed=0)
    statistics = {id(policy.normalization.mean), id(policy.normalization.variance), id(policy.normalization.count)}
    assert statistics <= {id(variable) for variable in policy.weights}
    assert not statistics & {id(variable) for variable in policy.trainable_variables}


def test_a_policy_must_say_how_parameters_make_a_distribution():
    class Undefined(Policy):
        pass

    with pytest.raises(NotImplementedError, match=r"Undefined must define distribution\(parameters\)"):
        Undefined((3,), 2, seed=0)(tf.zeros([1, 3]))


def test_entropy_is_nan_where_there_is_no_closed_form():
    class Mixture(Policy):
        def distribution(self, parameters):
            components = tfp.distributions.Normal(parameters, tf.ones_like(parameters))
            mixing = tfp.distributions.Categorical(logits=tf.zeros_like(parameters))
            return tfp.distributions.MixtureSameFamily(mixing, components)

    entropy = Mixture((3,), 2, seed=0).entropy(tf.zeros([4, 2], tf.float64))
    assert entropy.dtype == tf.float64
    np.testing.assert_array_equal(entropy, np.full(4, np.nan))


def test_default_noise_and_sample_serve_any_distribution():
    class Beta(Policy):
        def distribution(self, parameters):
            concentration = 1 + tf.nn.softplus(parameters)
            first, second = tf.split(concentration, 2, axis=-1)
            return tfp.distributions.Independent(tfp.distributions.Beta(first, second), 1)

    policy = Beta((3,), 4, seed=0)
    parameters = tf.constant(normals(1000, 4))
    noise = policy.noise([1000], tf.constant([1, 2]))
    actions = policy.sample(parameters, noise).numpy()
    assert actions.shape == (1000, 2)
    np.testing.assert_array_equal(actions, policy.sample(parameters, noise))
    assert not np.any(actions == policy.sample(parameters, policy.noise([1000], tf.constant([2, 2]))).numpy())
    distribution = policy.distribution(parameters)
    score = (actions - distribution.mean()) / distribution.stddev()
    np.testing.assert_allclose(np.mean(score, axis=0), [0, 0], atol=5 / np.sqrt(1000))
    np.testing.assert_allclose(np.mean(np.square(score), axis=0), [1, 1], atol=0.2)

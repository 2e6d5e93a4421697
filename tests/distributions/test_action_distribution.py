"""What every distribution has by default: noise, samples, entropy, metric, mirror; and what a user must define."""

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tf_trpo.distributions import ActionDistribution
from tf_trpo.numerics import Reflection


class Beta(ActionDistribution):
    def parameters(self, outputs):
        return 1 + tf.nn.softplus(outputs)

    def distribution(self, parameters):
        return tfp.distributions.Independent(tfp.distributions.Beta(*tf.split(parameters, 2, axis=-1)), 1)


class Mixture(ActionDistribution):
    def distribution(self, parameters):
        components = tfp.distributions.Normal(parameters, tf.ones_like(parameters))
        mixing = tfp.distributions.Categorical(logits=tf.zeros_like(parameters))
        return tfp.distributions.MixtureSameFamily(mixing, components)


class WideGaussian(ActionDistribution):
    def distribution(self, parameters):
        mean, log_std = tf.split(parameters, 2, axis=-1)
        return tfp.distributions.Independent(tfp.distributions.Normal(mean, 2 * tf.exp(log_std)), 1)


def normals(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_a_class_must_say_how_parameters_make_a_distribution():
    class Undefined(ActionDistribution):
        pass

    with pytest.raises(TypeError, match=r"abstract method '?distribution"):
        Undefined(2)


def test_entropy_is_none_without_a_closed_form():
    assert Mixture(2).entropy(tf.zeros([4, 2], tf.float64)) is None
    assert Beta(2).entropy(tf.ones([4, 2])).shape == (4,)


def test_the_metric_is_the_fisher_matrix_of_the_distribution():
    parameters, vectors = tf.constant(normals(5, 2)), tf.constant(normals(5, 2, seed=1))
    mean, log_std = np.split(parameters.numpy(), 2, axis=1)
    expected = vectors * np.concatenate([np.exp(-2 * log_std) / 4, np.full_like(mean, 2)], axis=1)
    np.testing.assert_allclose(WideGaussian(2).metric_product(parameters, vectors), expected, rtol=1e-5)


def test_noise_and_sample_serve_any_distribution():
    beta = Beta(4)
    parameters = beta.parameters(tf.constant(normals(1000, 4)))
    noise = beta.noise([1000], tf.constant([1, 2]))
    actions = beta.sample(parameters, noise).numpy()
    assert actions.shape == (1000, 2)
    np.testing.assert_array_equal(actions, beta.sample(parameters, noise))
    assert not np.any(actions == beta.sample(parameters, beta.noise([1000], tf.constant([2, 2]))).numpy())
    distribution = beta.distribution(parameters)
    score = (actions - distribution.mean()) / distribution.stddev()
    np.testing.assert_allclose(np.mean(score, axis=0), [0, 0], atol=5 / np.sqrt(1000))
    np.testing.assert_allclose(np.mean(np.square(score), axis=0), [1, 1], atol=0.2)


def test_nothing_else_is_known_of_the_actions():
    beta, parameters = Beta(2), tf.ones([3, 2])
    assert beta.fits(gym.spaces.Discrete(3))
    assert beta.describe_actions() is None
    assert beta.figures(parameters) == {}
    assert beta.named_parameters(parameters) == {"parameters": parameters}
    assert beta.to_environment(parameters) is parameters
    with pytest.raises(NotImplementedError, match="Beta must define mirrored"):
        beta.mirrored(Reflection((0,), (-1,)))

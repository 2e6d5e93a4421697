"""Properties of every distribution: noise, samples, entropy, metric, config; and what a user must define."""

import inspect
import json

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tf_trpo.distributions import ActionDistribution, Beta, Categorical, Gaussian, MultiCategorical, Product
from tf_trpo.models import Encoder, Policy, mlp
from tf_trpo.numerics import Reflection


class OwnBeta(ActionDistribution):
    def parameters(self, outputs):
        return 1 + tf.nn.softplus(outputs)

    def distribution(self, parameters):
        return tfp.distributions.Independent(tfp.distributions.Beta(*tf.split(parameters, 2, axis=-1)), 1)


class Mixture(ActionDistribution):
    def distribution(self, parameters):
        components = tfp.distributions.Normal(parameters, tf.ones_like(parameters))
        mixing = tfp.distributions.Categorical(logits=tf.zeros_like(parameters))
        return tfp.distributions.MixtureSameFamily(mixing, components)


BETA, CATEGORICAL, GAUSSIAN = OwnBeta(4), Categorical(4), Gaussian([-1.0, -2.0], [1.0, 0.5])


def normals(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_a_class_must_say_how_parameters_make_a_distribution():
    class Undefined(ActionDistribution):
        pass

    with pytest.raises(TypeError, match=r"abstract method '?distribution"):
        Undefined(2)


def test_entropy_is_none_without_a_closed_form():
    assert Mixture(2).entropy(tf.zeros([4, 2], tf.float64)) is None
    assert OwnBeta(2).entropy(tf.ones([4, 2])).shape == (4,)


OTHERS = {
    "beta": Beta([-1.0, -2.0], [1.0, 0.5]),
    "ragged": MultiCategorical([3, 1]),
    "even": MultiCategorical([[2], [2]]),
    "product": Product({"b": Gaussian([-1.0], [2.0], state_dependent_std=True), "a": Product((Categorical(2),))}),
}


@pytest.mark.parametrize("distribution", [BETA, CATEGORICAL, GAUSSIAN, *OTHERS.values()])
def test_the_metric_is_the_hessian_of_the_kl_and_the_covariance_of_the_score(distribution):
    """F = E[grad log p grad log p'] over sampled actions: the definition without any KL."""
    rows, repeats = 3, 20_000
    parameters = tf.constant(1.5 + np.abs(normals(rows, 4)), tf.float64)
    units = [tf.tile(unit[None], [rows, 1]) for unit in tf.eye(4, dtype=tf.float64)]
    metric = np.stack([distribution.metric_product(parameters, unit) for unit in units], axis=2)
    hessian = np.stack([ActionDistribution.metric_product(distribution, parameters, unit) for unit in units], axis=2)
    np.testing.assert_allclose(metric, hessian, rtol=1e-9, atol=1e-12)
    many = tf.repeat(parameters, repeats, axis=0)
    noise = distribution.noise([rows * repeats], tf.constant([1, 2]))
    actions = distribution.sample(tf.cast(many, tf.float32), noise)
    with tf.GradientTape() as tape:
        tape.watch(many)
        made = distribution.distribution(many)
        log_prob = made.log_prob(tf.cast(actions, made.dtype))
    scores = tape.gradient(log_prob, many).numpy().reshape(rows, repeats, 4)
    covariance = np.einsum("nri,nrj->nij", scores, scores) / repeats
    assert np.linalg.norm(covariance - metric) < 0.06 * np.linalg.norm(metric)


@pytest.mark.parametrize(
    ("distribution", "size"),
    [(BETA, 2), (CATEGORICAL, 4), (GAUSSIAN, 2), (OTHERS["ragged"], 4), (OTHERS["product"], 3)],
)
def test_noise_depends_on_its_seed_only_and_actions_on_parameters_and_noise_only(distribution, size):
    noise = distribution.noise([4, 3], tf.constant([1, 2])).numpy()
    assert noise.shape == (4, 3, size)
    np.testing.assert_array_equal(noise, distribution.noise([4, 3], tf.constant([1, 2])))
    assert not np.any(noise == distribution.noise([4, 3], tf.constant([2, 1])).numpy())
    parameters = distribution.parameters(tf.constant(normals(4, distribution.num_outputs)))
    actions = distribution.sample(parameters, tf.constant(noise[:, 0])).numpy()
    assert len(actions) == 4
    np.testing.assert_array_equal(actions, distribution.sample(parameters, tf.constant(noise[:, 0])))
    assert not np.array_equal(actions, distribution.sample(parameters, tf.constant(noise[:, 1])))


BOUNDS = [-1.0, -np.inf], [1.0, 0.5]


@pytest.mark.parametrize(
    "distribution",
    [
        Categorical(3, first_action=2),
        MultiCategorical([[2, 3], [4, 1]], [[0, -1], [5, 2]], action_dtype="int32"),
        MultiCategorical([2, 2], action_dtype="int8", space="MultiBinary"),
        Beta([[0.0], [990.0]], [[1.0], [1000.0]], action_dtype="float64"),
        Gaussian([[-1.0], [-np.inf]], [[1.0], [0.5]], state_dependent_std=True, clipped_likelihood=True),
        Gaussian(-0.1, 0.1, action_dtype="float64"),
        Gaussian(*BOUNDS, initial_std=0.7, final_std=0.1, std_groups=(0, 0)),
        Product((Categorical(3), Product({"class_name": Beta(0, 1), "config": Gaussian(0, 1, final_std=0.5)}))),
    ],
)
def test_config_round_trip_keeps_every_setting(distribution):
    copy = keras.saving.deserialize_keras_object(
        json.loads(json.dumps(keras.saving.serialize_keras_object(distribution)))
    )
    assert type(copy) is type(distribution)
    assert copy.get_config() == distribution.get_config()
    settings = {"num_outputs", *inspect.signature(type(distribution).__init__).parameters} & vars(distribution).keys()
    for name in settings - {"parts"}:
        assert getattr(copy, name) == getattr(distribution, name)


class Tempered(Mixture):
    def __init__(self, num_outputs, temperature=1.0, **kwargs):
        super().__init__(num_outputs, **kwargs)
        self._temperature = temperature


class WithProperty(Tempered):
    @property
    def temperature(self):
        return self._temperature


class WithConfig(Tempered):
    def get_config(self):
        return {**super().get_config(), "temperature": self._temperature}


def test_an_argument_that_would_be_lost_is_refused_when_the_config_is_made():
    with pytest.raises(NotImplementedError, match=r"^Tempered must store its argument temperature in an attribute of"):
        Tempered(2, 0.1).get_config()
    for cls in (WithProperty, WithConfig):
        assert cls.from_config(cls(2, 0.1).get_config())._temperature == 0.1


class WithHead(ActionDistribution):
    """Has a layer that is built when it is first called."""

    def __init__(self, num_outputs, **kwargs):
        super().__init__(num_outputs, **kwargs)
        self.head = keras.layers.Dense(2)

    def parameters(self, outputs):
        return self.head(outputs)

    def distribution(self, parameters):
        return tfp.distributions.Normal(*tf.unstack(parameters, axis=-1))


def test_a_policy_has_the_weights_of_layers_inside_its_distribution_from_the_start():
    policy = Policy(Encoder((3,), 4, network=mlp((3,), (5,))), WithHead(4))
    before = policy.flat_weights
    policy.distribution_parameters(tf.ones([2, 3]))
    np.testing.assert_array_equal(policy.flat_weights, before)
    assert policy.trainable_variables[0] is policy.action_distribution.head.kernel


def test_defaults_of_the_other_methods():
    beta, parameters = OwnBeta(2), tf.ones([3, 2])
    assert beta.difference(gym.spaces.Discrete(3)) is None
    assert beta.describe_actions() is None
    assert beta.figures(parameters) == {}
    assert beta.named_parameters(parameters) == {"parameters": parameters}
    assert beta.to_environment(parameters) is parameters
    np.testing.assert_array_equal(beta.environment_actions(parameters.numpy()), parameters)
    assert beta.mask_size is None
    with pytest.raises(ValueError, match="can be masked, not those of OwnBeta"):
        beta.masked(parameters, parameters)
    with pytest.raises(NotImplementedError, match="OwnBeta must define mirrored"):
        beta.mirrored(Reflection((0,), (-1,)))

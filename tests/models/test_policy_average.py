"""The average of a policy's weights, by NumPy loops."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_trpo.distributions import Categorical, Gaussian
from tf_trpo.distributions.action_distribution import ActionDistribution
from tf_trpo.distributions.tfp import categorical
from tf_trpo.estimation import Moments
from tf_trpo.models import Encoder, Policy, PolicyAverage, mlp


def gaussian(**kwargs):
    return Policy(Encoder((3,), 2, network=mlp((3,), (5,), seed=0), seed=0), Gaussian([-1.0] * 2, [1.0] * 2, **kwargs))


def moments(rng):
    samples = rng.normal(rng.normal(size=3), rng.uniform(0.5, 2.0, size=3), size=(40, 3))
    return Moments(*(tf.constant(x, tf.float32) for x in (samples.mean(axis=0), samples.var(axis=0), len(samples))))


def shake(rng, policy):
    for variable in policy.trainable_variables:
        variable.assign(variable + rng.normal(0.0, 0.3, size=variable.shape).astype(np.float32))


@settings(max_examples=25, deadline=None)
@given(momentum=st.sampled_from([0.0, 0.3, 0.9, 0.99]), updates=st.integers(1, 12), seed=st.integers(0, 2**31 - 1))
def test_it_is_the_plain_mean_at_first_and_then_an_exponential_one(momentum, updates, seed):
    rng, policy = np.random.default_rng(seed), gaussian()
    average = PolicyAverage(policy, momentum)
    expected = np.zeros(policy.flat_weights.shape)
    for count in range(1, updates + 1):
        shake(rng, policy)
        average.update(policy)
        rate = max(1 - momentum, 1 / count)
        expected = (1 - rate) * expected + rate * policy.flat_weights.numpy()
    found = np.concatenate([np.ravel(weight) for weight in trainable(policy, average.policy)])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert int(average.updates.numpy()) == updates


def trainable(policy, average):
    return [b.numpy() for a, b in zip(policy.weights, average.weights, strict=True) if a.trainable]


def test_before_the_first_update_it_is_a_copy_and_the_first_leaves_nothing_of_it():
    policy = gaussian()
    average = PolicyAverage(policy, 0.99)
    observations = tf.constant(np.random.default_rng(0).normal(size=(7, 3)), tf.float32)
    before = policy.distribution_parameters(observations)
    np.testing.assert_array_equal(average.policy.distribution_parameters(observations), before)
    shake(np.random.default_rng(1), policy)
    np.testing.assert_array_equal(average.policy.distribution_parameters(observations), before)
    average.update(policy)
    after = policy.distribution_parameters(observations)
    np.testing.assert_allclose(average.policy.distribution_parameters(observations), after, rtol=1e-5, atol=1e-6)
    assert np.abs(after - before).max() > 0.1


def test_under_moving_statistics_it_averages_what_the_first_layers_do_to_raw_observations(raw_first_layer):
    """Statistics that are absorbed rewrite the first layer: its weights before and after are not comparable."""
    rng, policy = np.random.default_rng(0), gaussian()
    policy.update_normalization(moments(rng))
    average = PolicyAverage(policy, 0.5)
    expected = None
    for _ in range(6):
        shake(rng, policy)
        average.update(policy)
        raw = raw_first_layer(policy)
        expected = raw if expected is None else [(old + new) / 2 for old, new in zip(expected, raw, strict=True)]
        new = moments(rng)
        policy.update_normalization(new)
        average.policy.update_normalization(new)
    for found, wanted in zip(raw_first_layer(average.policy), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)
    naive = average.policy.encoder.network.layers[0].kernel.numpy()
    assert np.abs(naive - expected[0]).max() > 0.1


def test_what_is_not_trained_is_taken_over():
    policy = gaussian(learned_std=False)
    average = PolicyAverage(policy, 0.9)
    for std in (1.0, 0.5, 0.25):
        policy.action_distribution.set_std(std)
        policy.update_normalization(moments(np.random.default_rng(0)))
        average.update(policy)
    np.testing.assert_allclose(np.exp(average.policy.action_distribution.log_std), 0.25, rtol=1e-6)
    np.testing.assert_array_equal(average.policy.encoder.normalization.mean, policy.encoder.normalization.mean)
    assert not average.trainable_variables


def test_it_keeps_the_kind_and_the_settings_of_the_policy():
    network = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
    policy = Policy(Encoder((4, 4, 1), 5, network=network, function_preserving=False), Categorical(5, 2))
    copy = PolicyAverage(policy, 0.9).policy
    distribution = copy.action_distribution
    assert copy.encoder.network is not network
    assert (distribution.num_outputs, distribution.first_action, copy.encoder.function_preserving) == (5, 2, False)
    assert [type(layer) for layer in copy.encoder.network.layers] == [type(layer) for layer in network.layers]


@pytest.mark.parametrize("momentum", [-0.1, 1.0, float("nan")])
def test_a_momentum_that_averages_nothing_is_refused(momentum):
    with pytest.raises(ValueError, match=r"ema_momentum must lie in \[0, 1\)"):
        PolicyAverage(gaussian(), momentum)


@keras.saving.register_keras_serializable(package="tests")
class Tempered(ActionDistribution):
    """Its config lacks the temperature."""

    temperature = 1.0

    def distribution(self, parameters):
        return categorical(self.temperature * parameters)


@keras.saving.register_keras_serializable(package="tests")
class Needy(Tempered):
    """Its config lacks what its constructor needs."""

    def __init__(self, secret, **kwargs):
        super().__init__(**kwargs)


def test_a_policy_that_its_config_does_not_make_again_is_refused():
    tempered = Policy(Encoder((3,), 2, output_gain=1.0, seed=0), Tempered(2))
    assert PolicyAverage(tempered, 0.9).policy.action_distribution.temperature == 1.0
    tempered.action_distribution.temperature = -1.0
    with pytest.raises(ValueError, match=r"ema_momentum needs a Policy whose config makes it again: .* acts otherwise"):
        PolicyAverage(tempered, 0.9)
    with pytest.raises(ValueError, match="ema_momentum needs a Policy whose config makes it again"):
        PolicyAverage(Policy(Encoder((3,), 2, seed=0), Needy(1, num_outputs=2)), 0.9)

"""The average of a policy's weights, by NumPy loops."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_trpo.estimation import Moments
from tf_trpo.models import CategoricalPolicy, GaussianPolicy, PolicyAverage, mlp


def gaussian(**kwargs):
    return GaussianPolicy((3,), [-1.0, -1.0], [1.0, 1.0], network=mlp((3,), (5,), seed=0), seed=0, **kwargs)


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
    naive = average.policy.network.layers[0].kernel.numpy()
    assert np.abs(naive - expected[0]).max() > 0.1


def test_what_is_not_trained_is_taken_over():
    policy = gaussian(learned_std=False)
    average = PolicyAverage(policy, 0.9)
    for std in (1.0, 0.5, 0.25):
        policy.set_std(std)
        policy.update_normalization(moments(np.random.default_rng(0)))
        average.update(policy)
    np.testing.assert_allclose(np.exp(average.policy.log_std), 0.25, rtol=1e-6)
    np.testing.assert_array_equal(average.policy.normalization.mean, policy.normalization.mean)
    assert not average.trainable_variables


def test_it_keeps_the_kind_and_the_settings_of_the_policy():
    network = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
    policy = CategoricalPolicy((4, 4, 1), 5, network=network, first_action=2, function_preserving=False)
    copy = PolicyAverage(policy, 0.9).policy
    assert type(copy) is CategoricalPolicy
    assert copy.network is not network
    assert (copy.num_outputs, copy.first_action, copy.function_preserving) == (5, 2, False)
    assert [type(layer) for layer in copy.network.layers] == [type(layer) for layer in network.layers]


@pytest.mark.parametrize("momentum", [-0.1, 1.0, float("nan")])
def test_a_momentum_that_averages_nothing_is_refused(momentum):
    with pytest.raises(ValueError, match=r"ema_momentum must lie in \[0, 1\)"):
        PolicyAverage(gaussian(), momentum)


class Hotter(GaussianPolicy):
    """Samples wider than its config says."""

    temperature = 1.0

    def sample(self, parameters, noise):
        return super().sample(parameters, self.temperature * noise)


class Needy(GaussianPolicy):
    """Its config lacks what its constructor needs."""

    def __init__(self, secret, **kwargs):
        super().__init__((3,), [-1.0], [1.0], **kwargs)


def test_a_policy_that_its_config_does_not_make_again_is_refused():
    hotter = Hotter((3,), [-1.0], [1.0], seed=0)
    assert PolicyAverage(hotter, 0.9).policy.temperature == 1.0
    hotter.temperature = 3.0
    with pytest.raises(ValueError, match=r"ema_momentum needs a Hotter whose config makes it again: .* acts otherwise"):
        PolicyAverage(hotter, 0.9)
    with pytest.raises(ValueError, match="ema_momentum needs a Needy whose config makes it again"):
        PolicyAverage(Needy(1, seed=0), 0.9)

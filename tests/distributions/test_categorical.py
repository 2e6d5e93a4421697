"""Categorical distribution: closed forms of log-probability, KL and entropy; samples; what environments are given."""

import json
import math

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.distributions import Categorical
from tf_trpo.models import Encoder, Policy, mlp


def make_policy(num_actions=4, first_action=0):
    encoder = Encoder((3,), num_actions, network=mlp((3,), (16,), seed=0), seed=0)
    return Policy(encoder, Categorical(num_actions, first_action))


def normals(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def log_softmax(logits):
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))


def closed_form_kl(old, new):
    old, new = log_softmax(old), log_softmax(new)
    return np.sum(np.exp(old) * (old - new), axis=1)


def test_call_returns_one_action_distribution_for_each_observation():
    distribution = make_policy()(tf.zeros([5, 3]))
    assert distribution.batch_shape == (5,)
    assert distribution.event_shape == ()
    assert distribution.dtype == tf.int32


def test_call_is_the_distribution_of_the_parameters():
    policy = make_policy()
    observations = normals(5, 3).astype(np.float32)
    logits = policy.distribution_parameters(observations).numpy()
    assert logits.shape == (5, 4)
    expected = log_softmax(logits)[np.arange(5), [0, 1, 2, 3, 1]]
    np.testing.assert_allclose(policy(observations).log_prob([0, 1, 2, 3, 1]), expected, rtol=1e-5)


def test_log_prob_is_the_log_softmax_of_the_logits():
    logits, actions = 3 * normals(8, 4), np.arange(8) % 4
    log_prob = Categorical(4).distribution(tf.constant(logits)).log_prob(actions)
    np.testing.assert_allclose(log_prob, log_softmax(logits)[np.arange(8), actions], rtol=1e-12)


def test_kl_is_the_kl_of_old_from_new():
    old, new = 2 * normals(8, 4, seed=1), 2 * normals(8, 4, seed=2)
    assert not np.allclose(closed_form_kl(old, new), closed_form_kl(new, old), rtol=0.1)
    kl = Categorical(4).kl(tf.constant(old), tf.constant(new))
    np.testing.assert_allclose(kl, closed_form_kl(old, new), rtol=1e-12)


def test_entropy_is_minus_the_expected_log_prob():
    logits = 2 * normals(8, 4)
    expected = -np.sum(np.exp(log_softmax(logits)) * log_softmax(logits), axis=1)
    np.testing.assert_allclose(Categorical(4).entropy(tf.constant(logits)), expected, rtol=1e-12)


def test_policy_starts_near_uniform_and_still_depends_on_the_state():
    logits = make_policy()(10 * normals(200, 3).astype(np.float32)).logits_parameter().numpy()
    # 16 tanh features have a norm of at most 4, and the output layer a gain of 0.01.
    assert np.abs(logits).max() <= 0.04
    assert np.std(logits, axis=0).min() > 1e-4


def test_every_trainable_weight_moves_the_log_prob():
    policy = make_policy()
    with tf.GradientTape() as tape:
        log_prob = policy(normals(6, 3).astype(np.float32)).log_prob([0, 1, 2, 3, 0, 0])
    for gradient in tape.gradient(log_prob, [variable.value for variable in policy.trainable_variables]):
        assert np.abs(gradient.numpy()).max() > 0


def test_noise_is_a_function_of_its_seed():
    categorical = Categorical(4)
    noise = categorical.noise([4, 3], tf.constant([1, 2])).numpy()
    assert noise.shape == (4, 3, 4)
    assert noise.dtype == np.float32
    np.testing.assert_array_equal(noise, categorical.noise([4, 3], tf.constant([1, 2])))
    assert not np.any(noise == categorical.noise([4, 3], tf.constant([2, 1])).numpy())


@pytest.mark.parametrize("uniform", [0.0, 1.0])
def test_noise_is_finite_at_both_ends_of_the_uniform_numbers(monkeypatch, uniform):
    monkeypatch.setattr(tf.random, "stateless_uniform", lambda shape, seed: tf.fill(shape, np.float32(uniform)))
    noise = Categorical(4).noise([5], tf.constant([0, 0])).numpy()
    assert np.all(np.isfinite(noise))


def test_sample_is_a_function_of_parameters_and_noise():
    categorical = Categorical(4)
    logits, noise = normals(9, 4).astype(np.float32), categorical.noise([9], tf.constant([3, 4]))
    actions = categorical.sample(tf.constant(logits), noise).numpy()
    assert actions.shape == (9,)
    assert actions.dtype == np.int32
    np.testing.assert_array_equal(actions, categorical.sample(tf.constant(logits), noise))


def test_sample_frequencies_are_the_probabilities():
    categorical, count = Categorical(4), 200_000
    probabilities = np.array([0.6, 0.3, 0.099, 0.001])
    # Logits are free up to a constant: 5 must change nothing.
    logits = np.tile((np.log(probabilities) + 5).astype(np.float32), [count, 1])
    actions = categorical.sample(tf.constant(logits), categorical.noise([count], tf.constant([7, 8]))).numpy()
    frequencies = np.bincount(actions, minlength=4) / count
    errors = np.sqrt(probabilities * (1 - probabilities) / count)
    np.testing.assert_array_less(np.abs(frequencies - probabilities), 4.5 * errors)


def test_mode_is_the_most_likely_action():
    logits = normals(20, 4)
    np.testing.assert_array_equal(Categorical(4).mode(tf.constant(logits)), np.argmax(logits, axis=1))


@pytest.mark.parametrize("first_action", [0, 1, -3])
def test_the_environment_counts_from_its_first_action(first_action):
    given = Categorical(4, first_action).to_environment(tf.constant([0, 1, 3])).numpy()
    np.testing.assert_array_equal(given, np.array([0, 1, 3]) + first_action)


def test_config_round_trip_keeps_settings_and_function():
    policy = make_policy(3, first_action=2)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(policy)))
    copy = keras.saving.deserialize_keras_object(config)
    assert isinstance(copy.action_distribution, Categorical)
    assert copy.action_distribution.get_config() == policy.action_distribution.get_config()
    assert copy.action_distribution.first_action == 2
    copy.set_weights(policy.get_weights())
    observations = normals(4, 3).astype(np.float32)
    np.testing.assert_array_equal(
        copy.distribution_parameters(observations), policy.distribution_parameters(observations)
    )


def test_the_uniform_policy_has_the_largest_entropy():
    assert Categorical(5).entropy(tf.zeros([1, 5], tf.float64)).numpy() == pytest.approx([math.log(5)], rel=1e-12)


def test_it_fits_a_discrete_space_with_its_numbers_only():
    assert Categorical(4, 2).fits(gym.spaces.Discrete(4, start=2))
    for space in (gym.spaces.Discrete(4), gym.spaces.Discrete(3, start=2), gym.spaces.Box(-1, 1, (4,))):
        assert not Categorical(4, 2).fits(space)

"""Categorical distribution: closed forms of log-probability, KL and entropy; samples; environment actions."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax

from tf_trpo.distributions import Categorical
from tf_trpo.models import Encoder, Policy, mlp


def normals(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_call_is_the_distribution_of_the_parameters():
    policy = Policy(Encoder((3,), 4, network=mlp((3,), (16,), seed=0), seed=0), Categorical(4))
    observations = normals(5, 3).astype(np.float32)
    logits = policy.distribution_parameters(observations).numpy()
    assert logits.shape == (5, 4)
    expected = log_softmax(logits, axis=1)[np.arange(5), [0, 1, 2, 3, 1]]
    distribution = policy(observations)
    assert (distribution.batch_shape, distribution.event_shape, distribution.dtype) == ((5,), (), tf.int32)
    np.testing.assert_allclose(distribution.log_prob([0, 1, 2, 3, 1]), expected, rtol=1e-5)


def test_log_prob_kl_and_entropy_are_those_of_the_softmax():
    categorical, logits, actions = Categorical(4), 3 * normals(8, 4, seed=1), np.arange(8) % 4
    other = 2 * normals(8, 4, seed=2)
    log_p, log_q = log_softmax(logits, axis=1), log_softmax(other, axis=1)
    log_prob = categorical.log_prob(tf.constant(logits), actions)
    np.testing.assert_allclose(log_prob, log_p[np.arange(8), actions], rtol=1e-12)
    kl = categorical.kl(tf.constant(logits), tf.constant(other))
    np.testing.assert_allclose(kl, np.sum(np.exp(log_p) * (log_p - log_q), axis=1), rtol=1e-12)
    entropy = categorical.entropy(tf.constant(logits))
    np.testing.assert_allclose(entropy, -np.sum(np.exp(log_p) * log_p, axis=1), rtol=1e-12)


def test_the_metric_product_is_exact_where_one_choice_is_almost_certain():
    """In float32, where 1 - p is lost, against float64, where it is not."""
    logits, vectors = (normals(200, 4, seed=seed).astype(np.float32) for seed in (3, 4))
    logits[np.arange(200), np.arange(200) % 4] += np.linspace(0, 34, 200, dtype=np.float32)
    product = Categorical(4).metric_product(tf.constant(logits), tf.constant(vectors)).numpy()
    log_p = log_softmax(logits.astype(np.float64), axis=1)
    differences = vectors[:, :, None].astype(np.float64) - vectors[:, None]
    exact = np.sum(np.exp(log_p[:, :, None] + log_p[:, None]) * differences, axis=2)
    np.testing.assert_array_less(np.abs(product - exact).max(1), 1e-5 * np.abs(exact).max(1))


@pytest.mark.parametrize("uniform", [0.0, 1.0])
def test_noise_is_finite_at_both_ends_of_the_uniform_numbers(monkeypatch, uniform):
    monkeypatch.setattr(tf.random, "stateless_uniform", lambda shape, seed: tf.fill(shape, np.float32(uniform)))
    noise = Categorical(4).noise([5], tf.constant([0, 0])).numpy()
    assert np.all(np.isfinite(noise))


def test_sample_frequencies_are_the_probabilities():
    categorical, count = Categorical(4), 200_000
    probabilities = np.array([0.6, 0.3, 0.099, 0.001])
    # Adding a constant such as 5 to the logits must change nothing.
    logits = np.tile((np.log(probabilities) + 5).astype(np.float32), [count, 1])
    actions = categorical.sample(tf.constant(logits), categorical.noise([count], tf.constant([7, 8]))).numpy()
    frequencies = np.bincount(actions, minlength=4) / count
    errors = np.sqrt(probabilities * (1 - probabilities) / count)
    np.testing.assert_array_less(np.abs(frequencies - probabilities), 4.5 * errors)


def test_mode_is_the_most_likely_action():
    logits = normals(20, 4)
    np.testing.assert_array_equal(Categorical(4).mode(tf.constant(logits)), np.argmax(logits, axis=1))

"""Distributions and networks that a user writes: any TFP distribution with a registered KL, any network."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tf_trpo.distributions import ActionDistribution, Categorical
from tf_trpo.estimation import Batch
from tf_trpo.models import Encoder, Policy, mlp
from tf_trpo.optimizers import NaturalDirection, TrustRegion


class Beta(ActionDistribution):
    """Two actions in (0, 1)."""

    def distribution(self, parameters):
        first, second = tf.split(1 + tf.nn.softplus(parameters), 2, axis=-1)
        return tfp.distributions.Independent(tfp.distributions.Beta(first, second), 1)


class Bernoulli(ActionDistribution):
    """Switches, each on or off."""

    def distribution(self, parameters):
        return tfp.distributions.Independent(tfp.distributions.Bernoulli(logits=parameters, dtype=tf.float32), 1)


def normals(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def make_policy(distribution):
    encoder = Encoder((3,), distribution.num_outputs, network=mlp((3,), (8,), seed=0), output_gain=1.0, seed=0)
    return Policy(encoder, distribution)


def make_batch(policy, samples=64):
    observations = tf.constant(normals(samples, *policy.observation_shape))
    parameters = policy.distribution_parameters(observations)
    distribution = policy.action_distribution
    actions = distribution.sample(parameters, distribution.noise([samples], tf.constant([0, 1])))
    return Batch(observations, actions, tf.constant(normals(samples, seed=1)), tf.fill([samples], 1 / samples))


def take_step(policy, chunk_size=None, **settings):
    """The outcome, and distribution parameters before and after in float64."""
    batch = make_batch(policy)
    old = policy.distribution_parameters(batch.observations).numpy().astype(np.float64)
    optimizer = TrustRegion(**settings)
    call = {"state": optimizer.make_state(policy), "progress": 0.0, "gamma": 0.99, "chunk_size": chunk_size}
    step = tf.function(lambda batch: optimizer.step(policy, batch, **call), autograph=False)
    outcome = step(batch)
    return batch, outcome, old, policy.distribution_parameters(batch.observations).numpy().astype(np.float64)


def beta_log_density(parameters, grid):
    """log density on a grid of (0, 1), normalised by quadrature: parameters [N, 2, 2] -> [N, 2, grid]."""
    concentration = 1 + np.log1p(np.exp(parameters))
    first, second = np.split(concentration[..., None], 2, axis=1)
    unnormalised = (first - 1) * np.log(grid) + (second - 1) * np.log1p(-grid)
    return unnormalised - np.log(np.exp(unnormalised).mean(axis=-1, keepdims=True))


def test_beta_policy_steps_within_the_trust_region():
    policy = make_policy(Beta(4))
    batch, outcome, old, new = take_step(policy, max_kl=0.02)
    assert outcome.accepted
    grid = (np.arange(20_000) + 0.5) / 20_000
    old_density, new_density = (beta_log_density(parameters.reshape(64, 2, 2), grid) for parameters in (old, new))
    kl = np.sum(np.mean(np.exp(old_density) * (old_density - new_density), axis=-1), axis=-1).mean()
    assert kl <= 0.02
    assert outcome.kl.numpy() == pytest.approx(kl, rel=1e-3)
    actions = tf.cast(batch.actions, tf.float64)
    distribution = policy.action_distribution
    ratio = np.exp(distribution.log_prob(new, actions) - distribution.log_prob(old, actions))
    improvement = np.mean((ratio - 1) * batch.advantages)
    assert improvement > 0
    assert outcome.actual_improvement.numpy() == pytest.approx(improvement, rel=1e-3)


def test_bernoulli_policy_steps_within_the_trust_region():
    policy = make_policy(Bernoulli(3))
    batch, outcome, old, new = take_step(policy, max_kl=0.02)
    assert outcome.accepted
    old_on, new_on = 1 / (1 + np.exp(-old)), 1 / (1 + np.exp(-new))
    kl = old_on * np.log(old_on / new_on) + (1 - old_on) * np.log((1 - old_on) / (1 - new_on))
    mean_kl = kl.sum(axis=1).mean()
    assert mean_kl <= 0.02
    assert outcome.kl.numpy() == pytest.approx(mean_kl, rel=1e-3)
    actions = batch.actions.numpy()
    probability = [np.prod(np.where(actions == 1, on, 1 - on), axis=1) for on in (old_on, new_on)]
    improvement = np.mean((probability[1] / probability[0] - 1) * batch.advantages)
    assert improvement > 0
    assert outcome.actual_improvement.numpy() == pytest.approx(improvement, rel=1e-3)


def convolution():
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            keras.layers.Conv2D(4, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.LayerNormalization(),
            keras.layers.Dense(8, "gelu"),
        ]
    )


@pytest.mark.slow
def test_a_convolutional_network_steps_alike_by_both_fisher_vector_products():
    thetas = []
    for product in ("gauss-newton", "double-backprop"):
        keras.utils.set_random_seed(0)
        encoder = Encoder((6, 6, 2), 3, network=convolution(), output_gain=1.0, seed=0)
        policy = Policy(encoder, Categorical(3))
        before = np.concatenate([variable.numpy().ravel() for variable in policy.trainable_variables])
        _, outcome, old, new = take_step(policy, direction=NaturalDirection(fisher_vector_product=product))
        assert outcome.accepted
        probabilities = [np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) for logits in (old, new)]
        kl = np.sum(probabilities[0] * np.log(probabilities[0] / probabilities[1]), axis=1).mean()
        assert 0.002 < kl <= 0.01
        after = np.concatenate([variable.numpy().ravel() for variable in policy.trainable_variables])
        thetas.append(after - before)
    assert np.linalg.norm(thetas[1] - thetas[0]) < 0.01 * np.linalg.norm(thetas[0])
    assert np.count_nonzero(thetas[0]) > 0.9 * thetas[0].size


@pytest.mark.parametrize("chunk_size", [20, pytest.param(25, marks=pytest.mark.slow)])
def test_chunks_bring_in_no_row_that_the_distribution_cannot_take(chunk_size):
    """64 samples are chunks of 16, and of 22 with two rows too many: an action of 0 has no density here."""
    outcomes = []
    for size in (None, chunk_size):
        policy = make_policy(Beta(4))
        outcomes.append(take_step(policy, chunk_size=size, max_kl=0.02)[1])
    whole, chunked = outcomes
    assert chunked.accepted
    assert float(chunked.kl) == pytest.approx(float(whole.kl), rel=1e-2)
    assert float(chunked.gradient_norm) == pytest.approx(float(whole.gradient_norm), rel=1e-4)

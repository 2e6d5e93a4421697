"""Distributions and networks that a user writes: any TFP distribution with a registered KL, any network."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import special, stats

from tf_trpo.distributions import ActionDistribution, Categorical
from tf_trpo.estimation import Batch
from tf_trpo.models import Encoder, Policy, mlp
from tf_trpo.numerics import LineSearchStatus
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
    observations = tf.constant(normals(samples, *policy.encoder.spec.shape))
    parameters = policy.distribution_parameters(observations)
    distribution = policy.action_distribution
    actions = distribution.sample(parameters, distribution.noise([samples], tf.constant([0, 1])))
    return Batch(observations, actions, tf.constant(normals(samples, seed=1)), tf.fill([samples], 1 / samples))


def take_step(policy, chunk_size=None, *, jit_compile=False, **settings):
    """The outcome, and distribution parameters before and after in float64."""
    batch = make_batch(policy)
    old = policy.distribution_parameters(batch.observations).numpy().astype(np.float64)
    optimizer = TrustRegion(**settings)
    call = {"state": optimizer.make_state(policy), "progress": 0.0, "gamma": 0.99, "chunk_size": chunk_size}
    call["jit_compile"] = jit_compile
    step = tf.function(lambda batch: optimizer.step(policy, batch, **call), autograph=False)
    outcome = step(batch)
    return batch, outcome, old, policy.distribution_parameters(batch.observations).numpy().astype(np.float64)


class WithoutKl(ActionDistribution):
    """Four choices; the KL of one state is NaN as soon as the policy has moved."""

    def distribution(self, parameters):
        return tfp.distributions.Categorical(logits=parameters)

    def kl(self, old, new):
        exact = super().kl(old, new)
        bad = tf.reduce_any(old != new) & (tf.range(tf.shape(exact)[0]) == 7)
        return tf.where(bad, tf.constant(np.nan, exact.dtype), exact)


@pytest.mark.parametrize(
    ("constraint", "jit_compile", "chunk_size"),
    [
        # Each pair of settings is among the quick ones.
        ("mean", False, None),
        ("mean", True, 20),
        ("max", False, 20),
        ("max", True, None),
        pytest.param("mean", False, 20, marks=pytest.mark.slow),
        pytest.param("mean", True, None, marks=pytest.mark.slow),
        pytest.param("max", False, None, marks=pytest.mark.slow),
        pytest.param("max", True, 20, marks=pytest.mark.slow),
    ],
)
def test_no_step_is_accepted_whose_kl_is_not_a_number_in_one_state(constraint, jit_compile, chunk_size):
    policy = make_policy(WithoutKl(4))
    start = policy.flat_weights.numpy()
    _, outcome, *_ = take_step(policy, chunk_size, jit_compile=jit_compile, constraint=constraint)
    assert outcome.line_search_status == LineSearchStatus.NOT_FINITE
    np.testing.assert_array_equal(policy.flat_weights, start)


def bernoulli_figures(old, new, actions):
    """KL [N], and ratios [N] of the probabilities."""
    old, new = special.expit(old), special.expit(new)
    kl = np.sum(old * np.log(old / new) + (1 - old) * np.log((1 - old) / (1 - new)), axis=1)
    return kl, np.prod(np.where(actions == 1, new / old, (1 - new) / (1 - old)), axis=1)


def test_the_step_improves_within_the_trust_region():
    batch, outcome, old, new = take_step(make_policy(Bernoulli(3)), max_kl=0.02)
    kl, ratio = bernoulli_figures(old, new, batch.actions.numpy())
    improvement = np.mean((ratio - 1) * batch.advantages)
    assert outcome.accepted
    assert kl.mean() <= 0.02
    assert outcome.kl.numpy() == pytest.approx(kl.mean(), rel=1e-3)
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
        before = policy.flat_weights.numpy()
        _, outcome, old, new = take_step(policy, direction=NaturalDirection(fisher_vector_product=product))
        assert outcome.accepted
        kl = stats.entropy(special.softmax(old, axis=1), special.softmax(new, axis=1), axis=1)
        assert 0.002 < kl.mean() <= 0.01
        thetas.append(policy.flat_weights.numpy() - before)
    assert np.linalg.norm(thetas[1] - thetas[0]) < 0.01 * np.linalg.norm(thetas[0])
    assert np.count_nonzero(thetas[0]) > 0.9 * thetas[0].size


@pytest.mark.slow
def test_chunks_bring_in_no_row_that_the_distribution_cannot_take():
    """64 samples are chunks of 22 with two rows too many: an action of 0 has no density here."""
    outcomes = []
    for size in (None, 25):
        policy = make_policy(Beta(4))
        outcomes.append(take_step(policy, chunk_size=size, max_kl=0.02)[1])
    whole, chunked = outcomes
    assert chunked.accepted
    assert float(chunked.kl) == pytest.approx(float(whole.kl), rel=1e-2)
    assert float(chunked.gradient_norm) == pytest.approx(float(whole.gradient_norm), rel=1e-4)

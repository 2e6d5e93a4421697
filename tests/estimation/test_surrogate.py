"""The improvement of the surrogate, with the precision that tiny steps need."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tf_trpo.estimation import clipped_surrogate_improvement, surrogate_improvement
from tf_trpo.theory import local_approximation, random_mdp, random_policy


def random_batch(seed, size, distance):
    """log_prob, old_log_prob, advantages, weights, with garbage in the padding."""
    generator = np.random.default_rng(seed)
    old_log_prob = generator.normal(-2.0, 1.0, size)
    log_prob = old_log_prob + distance * generator.normal(size=size)
    advantages = generator.normal(size=size)
    valid = generator.random(size) < 0.7
    valid[0] = True
    log_prob[~valid], advantages[~valid] = 1e4, 1e6
    return log_prob, old_log_prob, advantages, valid / valid.sum()


def tensors(batch, dtype=tf.float64):
    return [tf.constant(array, dtype) for array in batch]


def in_long_double(batch):
    """The improvement, and the sum of the absolute values of its terms, by expm1 in extended precision."""
    log_prob, old_log_prob, advantages, weights = (array[batch[3] > 0].astype(np.longdouble) for array in batch)
    terms = weights * np.expm1(log_prob - old_log_prob) * advantages
    return float(terms.sum()), float(np.abs(terms).sum())


@given(seed=st.integers(0, 10_000), size=st.integers(1, 40), distance=st.sampled_from([0.0, 1e-3, 0.1, 2.0]))
def test_improvement_is_the_difference_of_two_mean_ratio_weighted_advantages(seed, size, distance):
    batch = random_batch(seed, size, distance)
    log_prob, old_log_prob, advantages, weights = batch
    valid = weights > 0
    probability_ratios = np.exp(log_prob[valid]) / np.exp(old_log_prob[valid])
    expected = np.mean(probability_ratios * advantages[valid]) - np.mean(advantages[valid])
    improvement = surrogate_improvement(*tensors(batch))
    np.testing.assert_allclose(improvement, expected, rtol=1e-9, atol=1e-12)
    assert distance > 0 or improvement == 0.0


@given(seed=st.integers(0, 10_000), size=st.integers(1, 40), distance=st.sampled_from([0.0, 0.1, 2.0]))
def test_the_clipped_improvement_takes_the_smaller_of_two_products_for_each_sample(seed, size, distance):
    batch, clip_range = random_batch(seed, size, distance), 0.2
    terms = []
    for log_prob, old_log_prob, advantage, weight in zip(*batch, strict=True):
        if weight > 0:
            ratio = np.exp(log_prob - old_log_prob)
            clipped = min(max(ratio, 1 - clip_range), 1 + clip_range)
            terms.append(min(ratio * advantage, clipped * advantage) - advantage)
    improvement = clipped_surrogate_improvement(*tensors(batch), clip_range=clip_range)
    np.testing.assert_allclose(improvement, np.mean(terms), rtol=1e-9, atol=1e-12)
    assert improvement <= surrogate_improvement(*tensors(batch)) + 1e-12


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("distance", [1e-14, 1e-10, 1e-6, 1e-2])
def test_improvement_is_precise_for_tiny_steps(distance, jit_compile):
    batch = random_batch(1, 200, distance)
    expected, scale = in_long_double(batch)
    improvement = tf.function(surrogate_improvement, jit_compile=jit_compile)(*tensors(batch))
    np.testing.assert_allclose(improvement, expected, rtol=0, atol=1e-14 * scale)


def test_gradient_at_the_old_policy_is_the_policy_gradient():
    _, old_log_prob, advantages, weights = random_batch(2, 20, 0.1)
    old_log_prob, advantages, weights = tensors((old_log_prob, advantages, weights))
    with tf.GradientTape() as tape:
        tape.watch(old_log_prob)
        improvement = surrogate_improvement(old_log_prob, tf.stop_gradient(old_log_prob), advantages, weights)
    np.testing.assert_allclose(tape.gradient(improvement, old_log_prob), weights * advantages, rtol=1e-12)


def test_expectation_over_every_state_and_action_is_the_theorys_local_approximation():
    """Weighted by the old policy's visits, the estimator is (1 - gamma) (L(new) - eta(old)) of an exact MDP."""
    rng = np.random.default_rng(0)
    mdp = random_mdp(5, 3, 0.9, rng)
    old, new_policy = mdp.evaluate(random_policy(5, 3, rng)), random_policy(5, 3, rng)
    weights = (1 - mdp.gamma) * old.visitation_frequencies[:, None] * old.policy
    columns = (np.log(new_policy), np.log(old.policy), old.advantages, weights)
    estimate = surrogate_improvement(*(tf.constant(column.ravel()) for column in columns))
    expected = (1 - mdp.gamma) * (local_approximation(old, new_policy) - old.expected_return)
    np.testing.assert_allclose(estimate, expected, rtol=1e-12)

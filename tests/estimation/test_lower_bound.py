"""The estimated lower bound against the exact one, on batches that hold a whole decision process."""

import numpy as np
import pytest
import tensorflow as tf

from tf_trpo import theory
from tf_trpo.estimation import Batch, estimate_lower_bound, largest_advantage, penalty_coefficient

PADDING = 7


def whole_process(evaluation, *, mean=0.0, scale=1.0):
    """A sample for each state and action, weighted by its visits; and padding that holds garbage."""
    weights = (1 - evaluation.gamma) * evaluation.visitation_frequencies[:, None] * evaluation.policy
    advantages = (evaluation.advantages - mean) / scale
    columns = [np.append(advantages, np.full(PADDING, 1e6)), np.append(weights, np.zeros(PADDING))]
    nothing = tf.zeros([len(columns[0])])
    return Batch(nothing, nothing, *(tf.constant(column, tf.float64) for column in (*columns, mean, scale)))


def mean_surrogate_gain(batch, old_policy, new_policy):
    ratio = np.concatenate([(new_policy / old_policy).ravel(), np.ones(PADDING)])
    return tf.constant(np.sum(batch.weights.numpy() * (ratio - 1) * batch.advantages.numpy()))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize(("seed", "mean", "scale"), [(0, 0.0, 1.0), (1, 2.0, 30.0), (2, -0.3, 0.01)])
def test_with_every_state_in_the_batch_the_estimate_is_the_exact_bound(seed, gamma, mean, scale):
    rng = np.random.default_rng(seed)
    mdp = theory.random_mdp(4, 3, gamma, rng)
    old = mdp.evaluate(theory.random_policy(4, 3, rng))
    new_policy = 0.9 * old.policy + 0.1 * theory.random_policy(4, 3, rng)
    batch = whole_process(old, mean=mean, scale=scale)
    estimate = estimate_lower_bound(
        batch,
        predicted=tf.constant(0.5 / scale, tf.float64),
        actual=mean_surrogate_gain(batch, old.policy, new_policy),
        max_kl=tf.constant(theory.max_kl_divergence(old.policy, new_policy), tf.float64),
        gamma=gamma,
    )
    gain = theory.local_approximation(old, new_policy) - old.expected_return
    assert estimate.epsilon.numpy() == pytest.approx(np.abs(old.advantages).max())
    assert estimate.penalty_coefficient.numpy() == pytest.approx(theory.penalty_coefficient(old))
    assert estimate.actual_improvement.numpy() == pytest.approx(gain, abs=1e-10)
    assert estimate.predicted_improvement.numpy() == pytest.approx(0.5 / (1 - gamma))
    bound = theory.lower_bound(old, new_policy) - old.expected_return
    assert estimate.improvement.numpy() == pytest.approx(bound, abs=1e-9)
    assert estimate.improvement <= mdp.evaluate(new_policy).expected_return - old.expected_return + 1e-9


def test_the_largest_advantage_is_unnormalised_and_of_valid_samples():
    advantages, weights = tf.constant([1.0, -2.0, 0.5, 90.0]), tf.constant([0.5, 0.25, 0.25, 0.0])
    nothing = tf.zeros([4])
    assert largest_advantage(Batch(nothing, nothing, advantages, weights)) == 2
    assert largest_advantage(Batch(nothing, nothing, advantages, weights, 10.0, 3.0)) == 13
    assert largest_advantage(Batch(nothing, nothing, advantages, weights, -1.0, 3.0)) == 7


def test_without_discount_there_is_no_bound_and_no_nan_and_a_refused_step_has_a_bound_of_zero():
    for epsilon in (2.0, 0.0):
        assert penalty_coefficient(tf.constant(epsilon, tf.float64), 1.0) == np.inf
    batch = Batch(tf.zeros([2]), tf.zeros([2]), tf.constant([1.0, -1.0]), tf.constant([0.5, 0.5]))
    nothing = {"predicted": tf.constant(0.0), "actual": tf.constant(0.0)}
    for kl, gamma, bound in [(0.0, 1.0, -np.inf), (0.1, 1.0, -np.inf), (0.0, 0.99, 0.0)]:
        figures = estimate_lower_bound(batch, **nothing, max_kl=tf.constant(kl), gamma=gamma)
        assert figures.improvement == bound
        assert figures.actual_improvement == figures.predicted_improvement == 0

"""Returns and advantages of branches, compared with naive loops and with exact advantages."""

import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.estimation import branch_advantages, branch_returns
from tf_trpo.theory import random_mdp, random_policy


@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
def test_returns_of_branches_equal_those_of_a_loop(gamma):
    rng = np.random.default_rng(0)
    steps = np.int32([0, 1, 3, 5, 5, 2])
    rewards, values = rng.normal(size=(6, 5)), rng.normal(size=6)
    rewards[np.arange(5) >= steps[:, None]] = 0.0
    terminated = np.array([0, 1, 0, 1, 0, 0], float)
    expected = []
    for n in range(6):
        total = sum(gamma**step * rewards[n, step] for step in range(steps[n]))
        expected.append(total if terminated[n] else total + gamma ** steps[n] * values[n])
    found = branch_returns(*map(tf.constant, (rewards, steps, terminated, values)), gamma=gamma)
    np.testing.assert_allclose(found, expected, atol=1e-14)


def test_advantages_of_all_actions_are_exact():
    mdp = random_mdp(7, 3, 0.9, np.random.default_rng(1))
    policy = random_policy(7, 3, np.random.default_rng(2))
    exact = mdp.evaluate(policy)
    found = branch_advantages(tf.constant(exact.action_values), tf.constant(policy))
    np.testing.assert_allclose(found, exact.advantages, atol=1e-14)


def test_the_mean_of_the_others_is_the_baseline_of_drawn_actions():
    returns = np.random.default_rng(3).normal(size=(4, 5))
    expected = [[row[k] - np.delete(row, k).mean() for k in range(5)] for row in returns]
    np.testing.assert_allclose(branch_advantages(tf.constant(returns)), expected)


def test_the_expected_gradient_with_drawn_actions_is_the_policy_gradient():
    # The sum over all pairs of actions, weighted by their probabilities, is the exact expectation.
    rng = np.random.default_rng(4)
    probabilities, q_values = rng.dirichlet(np.ones(3)), rng.normal(size=3)
    scores = np.eye(3) - probabilities
    expected = np.zeros(3)
    for one in range(3):
        for other in range(3):
            advantages = branch_advantages(tf.constant(q_values[[one, other]][None])).numpy()[0]
            estimate = (advantages[:, None] * scores[[one, other]]).mean(axis=0)
            expected += probabilities[one] * probabilities[other] * estimate
    np.testing.assert_allclose(probabilities @ (q_values[:, None] * scores), expected, atol=1e-15)

"""Closed forms of a finite MDP against sums over time, Bellman iteration and sampled episodes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_trpo.theory import FiniteMDP

SEEDS = st.integers(0, 100_000)
GAMMAS = st.sampled_from([0.0, 0.3, 0.9, 0.99])


def steps_until(gamma, remainder):
    """The number of steps after which gamma^t / (1 - gamma) is below `remainder`."""
    return 1 if gamma == 0 else math.ceil(math.log(remainder * (1 - gamma)) / math.log(gamma))


def summed_over_time(mdp, policy):
    """rho and eta by propagating the state distribution forward."""
    distribution, discount, frequencies, expected_return = mdp.initial, 1.0, np.zeros(mdp.num_states), 0.0
    for _ in range(steps_until(mdp.gamma, 1e-13)):
        frequencies = frequencies + discount * distribution
        expected_return += discount * sum(
            distribution[s] * policy[s, a] * mdp.rewards[s, a]
            for s in range(mdp.num_states)
            for a in range(mdp.num_actions)
        )
        flow = distribution[:, None] * policy
        distribution = np.tensordot(flow, mdp.transitions, axes=2)
        discount *= mdp.gamma
    return frequencies, expected_return


def iterated_action_values(mdp, policy):
    """Q by repeated Bellman backups, starting from 0."""
    values = np.zeros(mdp.rewards.shape)
    for _ in range(steps_until(mdp.gamma, 1e-13)):
        values = mdp.rewards + mdp.gamma * mdp.transitions @ np.sum(policy * values, axis=1)
    return values


@given(seed=SEEDS, gamma=GAMMAS)
def test_an_evaluation_is_the_sum_over_time_and_the_fixed_point_of_bellman_backups(make_mdp, make_policy, seed, gamma):
    mdp = make_mdp(seed, gamma)
    policy = make_policy(mdp, seed + 1)
    evaluation = mdp.evaluate(policy)
    frequencies, expected_return = summed_over_time(mdp, policy)
    action_values = iterated_action_values(mdp, policy)
    values = np.sum(policy * action_values, axis=1)
    tolerance = 1e-9 * np.abs(mdp.rewards).max() / (1 - gamma)
    np.testing.assert_allclose(evaluation.visitation_frequencies, frequencies, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(evaluation.expected_return, expected_return, atol=tolerance)
    np.testing.assert_allclose(evaluation.action_values, action_values, atol=tolerance)
    np.testing.assert_allclose(evaluation.values, values, atol=tolerance)
    np.testing.assert_allclose(evaluation.advantages, action_values - values[:, None], atol=tolerance)


def test_mdp_keeps_its_own_copy():
    transitions, rewards = np.ones((1, 1, 1)), np.ones((1, 1))
    mdp = FiniteMDP(transitions, rewards, np.ones(1), 0.5)
    rewards[0, 0] = 7
    assert mdp.rewards[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        mdp.rewards[0, 0] = 7


PARTS = {
    "transitions": np.full((2, 3, 2), 0.5),
    "rewards": np.zeros((2, 3)),
    "initial": np.array([0.5, 0.5]),
    "gamma": 0.9,
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("transitions", np.full((2, 3, 3), 1 / 3)),
        ("transitions", np.full((2, 3, 2), 0.4)),
        ("transitions", np.full((2, 3, 2), np.nan)),
        ("transitions", np.broadcast_to([1.5, -0.5], (2, 3, 2))),
        ("rewards", np.zeros(2)),
        ("rewards", np.full((2, 3), np.inf)),
        ("rewards", np.zeros((2, 0))),
        ("initial", np.array([1.0])),
        ("initial", np.array([0.5, 0.6])),
        ("gamma", 1.0),
        ("gamma", -0.1),
        ("gamma", math.nan),
    ],
)
def test_a_part_that_does_not_fit_is_named(name, value):
    with pytest.raises(ValueError, match=name):
        FiniteMDP(**{**PARTS, name: value})


@pytest.mark.parametrize("policy", [np.full((3, 2), 0.5), np.full((2, 3), 0.5), np.full((2, 3), -1.0), 1.0])
def test_an_array_that_is_not_a_policy_is_refused(policy):
    with pytest.raises(ValueError, match="policy"):
        FiniteMDP(**PARTS).evaluate(policy)

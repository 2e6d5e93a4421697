"""Markov decision processes and policies with all features that could break closed forms."""

import numpy as np
import pytest

from tf_trpo.theory import FiniteMDP, random_mdp, random_policy


def awkward_mdp(seed, gamma):
    """A small random MDP that may have absorbing, unreachable and deterministic states, and rewards of any scale."""
    rng = np.random.default_rng(seed)
    states, actions = rng.integers(1, 6), rng.integers(1, 5)
    mdp = random_mdp(states, actions, gamma, rng)
    transitions, initial = mdp.transitions.copy(), mdp.initial.copy()
    rewards = mdp.rewards * rng.choice([1e-3, 1.0, 1e3])
    for state in range(states):
        kind = rng.choice(["plain", "absorbing", "unreachable", "deterministic"])
        if kind == "absorbing":
            transitions[state], rewards[state] = np.eye(states)[state], 0.0
        elif kind == "deterministic":
            transitions[state] = np.eye(states)[rng.integers(states, size=actions)]
        elif kind == "unreachable" and state > 0:
            transitions[..., 0] += transitions[..., state]
            transitions[..., state] = 0.0
            initial[0] += initial[state]
            initial[state] = 0.0
    return FiniteMDP(transitions, rewards, initial, gamma)


def awkward_policy(mdp, seed):
    """A policy that in each state is mixed, deterministic, nearly deterministic or without some actions."""
    rng = np.random.default_rng(seed)
    policy = random_policy(mdp.num_states, mdp.num_actions, rng)
    for state in range(mdp.num_states):
        kind = rng.choice(["mixed", "mixed", "deterministic", "nearly", "without"])
        one = np.eye(mdp.num_actions)[rng.integers(mdp.num_actions)]
        if kind == "deterministic":
            policy[state] = one
        elif kind == "nearly":
            policy[state] = 1e-9 * policy[state] + (1 - 1e-9) * one
        elif kind == "without" and mdp.num_actions > 2:
            policy[state, 0] = 0.0
            policy[state] /= policy[state].sum()
    return policy


@pytest.fixture(scope="session")
def make_mdp():
    """(seed, gamma) -> `FiniteMDP`."""
    return awkward_mdp


@pytest.fixture(scope="session")
def make_policy():
    """(mdp, seed) -> policy [S, A]."""
    return awkward_policy

"""The lower bound for policies with a memory: a small POMDP as the complete MDP of its histories."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_trpo.theory import FiniteMDP, lower_bound, performance_difference

HIDDEN, OBSERVED, ACTIONS, HORIZON = 3, 2, 2, 3


class Partial:
    """A random POMDP of three steps: a hidden state moves, and emits one of two observations."""

    def __init__(self, rng, gamma):
        self.gamma = gamma
        self.initial = rng.dirichlet(np.ones(HIDDEN))
        self.moves = rng.dirichlet(np.full(HIDDEN, 0.5), size=(HIDDEN, ACTIONS))
        self.shows = rng.dirichlet(np.full(OBSERVED, 0.5), size=HIDDEN)
        self.rewards = rng.normal(size=(HIDDEN, ACTIONS))

    def filtered(self, history):
        """P(hidden state now, observations of the history | its actions), [HIDDEN]."""
        observations, actions = history[::2], history[1::2]
        weights = self.initial * self.shows[:, observations[0]]
        for observation, action in zip(observations[1:], actions, strict=True):
            weights = weights @ self.moves[:, action] * self.shows[:, observation]
        return weights

    def of_histories(self):
        """(`FiniteMDP` whose states are all histories (o, a, o, ...) and, last, the end; the histories)."""
        histories = [
            tuple(found)
            for steps in range(HORIZON)
            for found in itertools.product(*[range(OBSERVED), range(ACTIONS)] * steps, range(OBSERVED))
        ]
        place = {history: state for state, history in enumerate(histories)}
        transitions = np.zeros((len(histories) + 1, ACTIONS, len(histories) + 1))
        rewards = np.zeros((len(histories) + 1, ACTIONS))
        transitions[-1, :, -1] = 1.0
        for history, state in place.items():
            belief = self.filtered(history) / self.filtered(history).sum()
            rewards[state] = belief @ self.rewards
            for action in range(ACTIONS):
                next_shows = belief @ self.moves[:, action] @ self.shows
                for observation in range(OBSERVED):
                    longer = place.get((*history, action, observation), -1)
                    transitions[state, action, longer] += next_shows[observation]
        initial = np.zeros(len(histories) + 1)
        initial[:OBSERVED] = self.initial @ self.shows
        return FiniteMDP(transitions, rewards, initial, self.gamma), histories

    def expected_return(self, policy, histories):
        """The expected return of a policy over histories, by a sum over all paths of the hidden state."""
        place = {history: state for state, history in enumerate(histories)}

        def worth(history, weights, discount):
            """Expected discounted rewards from this history on, times the weight of each hidden state."""
            total = 0.0
            for action in range(ACTIONS):
                chosen = weights * policy[place[history], action]
                total += discount * chosen @ self.rewards[:, action]
                moved = chosen @ self.moves[:, action]
                for observation in range(OBSERVED):
                    longer = (*history, action, observation)
                    if longer in place:
                        total += worth(longer, moved * self.shows[:, observation], self.gamma * discount)
            return total

        return sum(worth((shown,), self.initial * self.shows[:, shown], 1.0) for shown in range(OBSERVED))


class Recurrent:
    """A policy with a memory of two numbers; besides them, it sees the last observation and the last action."""

    def __init__(self, rng, scale):
        self.into, self.recurrent, self.out = (
            scale * rng.normal(size=size) for size in [(OBSERVED + ACTIONS, 2), (2, 2), (2, ACTIONS)]
        )

    def moved(self, rng, size):
        other = Recurrent(rng, size)
        for name, own in vars(self).items():
            setattr(other, name, own + getattr(other, name))
        return other

    def table(self, histories):
        """pi(a | history), [histories + 1, ACTIONS], uniform in the final state."""
        rows = []
        for history in histories:
            memory, last_action = np.zeros(2), np.zeros(ACTIONS)
            for position in range(0, len(history), 2):
                seen = np.concatenate([np.eye(OBSERVED)[history[position]], last_action])
                memory = np.tanh(seen @ self.into + memory @ self.recurrent)
                last_action = np.eye(ACTIONS)[history[position + 1]] if position + 1 < len(history) else last_action
            scores = np.exp(memory @ self.out)
            rows.append(scores / scores.sum())
        return np.array([*rows, np.full(ACTIONS, 1 / ACTIONS)])


@given(
    seed=st.integers(0, 100_000),
    gamma=st.sampled_from([0.5, 0.9, 0.99]),
    size=st.sampled_from([1e-4, 1e-2, 0.1, 1.0]),
)
def test_the_bound_holds_for_policies_with_a_memory(seed, gamma, size):
    rng = np.random.default_rng(seed)
    world = Partial(rng, gamma)
    mdp, histories = world.of_histories()
    first = Recurrent(rng, 1.0)
    old, new = (mdp.evaluate(policy.table(histories)) for policy in (first, first.moved(rng, size)))
    # The MDP of histories is equivalent to the POMDP: policies have the same returns.
    for evaluation in (old, new):
        hidden = world.expected_return(evaluation.policy, histories)
        assert evaluation.expected_return == pytest.approx(hidden, abs=1e-10)
    gain = new.expected_return - old.expected_return
    assert performance_difference(old, new) == pytest.approx(gain, abs=1e-10)
    assert lower_bound(old, new.policy) <= new.expected_return + 1e-10

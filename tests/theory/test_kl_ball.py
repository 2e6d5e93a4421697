"""The best policy of a KL ball against constrained optimisers, a fine grid and its own optimality conditions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_trpo.theory import kl_divergence, maximize_within_kl

SEEDS = st.integers(0, 100_000)
LIMITS = st.sampled_from([1e-9, 1e-6, 1e-3, 0.03, 0.3, 2.0, 10.0])


def random_states(seed, states, actions):
    rng = np.random.default_rng(seed)
    policy = rng.dirichlet(np.ones(actions), size=states)
    return policy, rng.normal(size=(states, actions)) * rng.choice([1e-3, 1.0, 1e3])


def gain(policy, old_policy, advantages):
    return np.sum((policy - old_policy) * advantages, axis=1)


@given(seed=SEEDS, actions=st.integers(2, 6), max_kl=LIMITS)
def test_the_maximum_is_on_the_boundary_and_its_gain_is_right(seed, actions, max_kl):
    old, advantages = random_states(seed, 3, actions)
    maximum = maximize_within_kl(old, advantages, max_kl)
    np.testing.assert_allclose(maximum.policy.sum(axis=1), 1, atol=1e-14)
    assert (maximum.policy >= 0).all()
    # The ball may be larger than the greedy policy needs.
    divergence = kl_divergence(old, maximum.policy)
    spent = np.isclose(divergence, max_kl, rtol=1e-10)
    greedy = maximize_within_kl(old, advantages, np.inf).gains
    assert (spent | ((divergence < max_kl) & np.isclose(maximum.gains, greedy, rtol=1e-14))).all()
    assert spent.all() or max_kl > 1
    scale = np.abs(advantages).max()
    np.testing.assert_allclose(maximum.gains, gain(maximum.policy, old, advantages), atol=1e-14 * scale)
    assert (maximum.gains > 0).all()


@given(seed=SEEDS, actions=st.integers(2, 6), max_kl=LIMITS)
def test_optimality_conditions_hold(seed, actions, max_kl):
    """A(a) + mu p(a) / pi(a) is the same lambda for all actions of a state: sufficient for a concave programme."""
    old, advantages = random_states(seed, 3, actions)
    maximum = maximize_within_kl(old, advantages, max_kl)
    lagrangian = advantages + maximum.multipliers[:, None] * old / maximum.policy
    tolerance = 1e-9 * (np.abs(lagrangian).max(axis=1) + np.abs(advantages).max())
    assert (np.ptp(lagrangian, axis=1) <= tolerance).all()


@given(seed=SEEDS, actions=st.integers(2, 6), max_kl=st.sampled_from([1e-6, 1e-3, 0.3, 2.0]))
def test_multiplier_is_the_derivative_of_the_maximum(seed, actions, max_kl):
    old, advantages = random_states(seed, 3, actions)
    old[0, advantages[0].argmax()] = 0.0
    old[0] /= old[0].sum()
    h = 1e-4 * max_kl
    above, below = (maximize_within_kl(old, advantages, max_kl + sign * h).gains for sign in (1, -1))
    multipliers = maximize_within_kl(old, advantages, max_kl).multipliers
    np.testing.assert_allclose((above - below) / (2 * h), multipliers, rtol=1e-5, atol=1e-7 * np.abs(advantages).max())


@pytest.mark.parametrize("max_kl", [0.01, 0.2, 0.5, 1.5])
def test_best_action_outside_the_support_against_a_fine_grid(max_kl):
    """An action of old probability 0 changes the divergence only by the mass that it takes from the others."""
    old, advantages = np.array([0.6, 0.4, 0.0]), np.array([0.0, 1.0, 1.3])
    first, third = np.meshgrid(np.linspace(1e-6, 1, 1500), np.linspace(0, 1, 1501))
    grid = np.stack([first, 1 - first - third, third], axis=-1).reshape(-1, 3)
    grid = grid[grid[:, 1] > 0]
    grid = grid[old[:2] @ np.log(old[:2] / grid[:, :2]).T <= max_kl]
    maximum = maximize_within_kl(old[None], advantages[None], max_kl)
    best = ((grid - old) @ advantages).max()
    assert best <= maximum.gains[0] + 1e-12
    assert best >= maximum.gains[0] - 3e-3
    assert kl_divergence(old, maximum.policy[0]) == pytest.approx(max_kl, rel=1e-9)
    # The new action is used only from a finite divergence on, at which lambda has fallen to its advantage.
    rest = 1.3 - advantages[:2]
    first_divergence = old[:2] @ np.log(rest) + np.log(old[:2] @ (1 / rest))
    assert 0.2 < first_divergence < 0.5
    assert (maximum.policy[0, 2] > 0) == (max_kl > first_divergence)


def test_a_deterministic_state_moves_mass_with_a_finite_multiplier():
    maximum = maximize_within_kl([[1.0, 0.0]], [[0.0, 2.0]], 0.3)
    np.testing.assert_allclose(maximum.policy, [[np.exp(-0.3), 1 - np.exp(-0.3)]])
    np.testing.assert_allclose(maximum.gains, 2 * (1 - np.exp(-0.3)))
    np.testing.assert_allclose(maximum.multipliers, 2 * np.exp(-0.3))
    np.testing.assert_allclose(maximize_within_kl([[1.0, 0.0]], [[0.0, 2.0]], 0.0).multipliers, 2.0)


@pytest.mark.parametrize("max_kl", [0.0, 1e-3, 1.0, np.inf])
def test_a_state_without_a_better_action_does_not_change(max_kl):
    old = np.array([[0.2, 0.8], [0.0, 1.0], [1 / 3, 2 / 3]])
    maximum = maximize_within_kl(old, [[0.1, 0.1], [-1.0, 0.0], [0.0, 0.0]], max_kl)
    np.testing.assert_array_equal(maximum.policy, old)
    np.testing.assert_array_equal(maximum.gains, 0)


def test_an_empty_ball_gives_the_old_policy_and_an_infinite_one_the_greedy_policy():
    old, advantages = random_states(0, 4, 3)
    none = maximize_within_kl(old, advantages, 0.0)
    np.testing.assert_allclose(none.policy, old, rtol=1e-15)
    assert np.isinf(none.multipliers).all()
    greedy = maximize_within_kl(old, advantages, np.inf)
    np.testing.assert_array_equal(greedy.policy, np.eye(3)[advantages.argmax(axis=1)])
    large = maximize_within_kl(old, advantages, 200.0)
    np.testing.assert_allclose(large.gains, greedy.gains, rtol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[0.5, 0.5]], [[1.0, 2.0]], -1e-9), "max_kl"),
        (([[0.5, 0.5]], [[1.0, 2.0]], np.nan), "max_kl"),
        (([[0.5, 0.6]], [[1.0, 2.0]], 0.1), "old_policy"),
        (([[0.5, 0.5]], [1.0, 2.0], 0.1), "advantages"),
    ],
)
def test_bad_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        maximize_within_kl(*arguments)

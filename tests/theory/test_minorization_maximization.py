"""Each step maximises the lower bound, and the expected return never decreases."""

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_trpo.theory import (
    FiniteMDP,
    MinorizationMaximizationStatus,
    local_approximation,
    lower_bound,
    max_kl_divergence,
    maximize_lower_bound,
    minorization_maximization,
    penalty_coefficient,
    random_mdp,
    random_policy,
)

SEEDS = st.integers(0, 100_000)


def uniform_policy(mdp):
    return np.full(mdp.rewards.shape, 1 / mdp.num_actions)


def assert_chain_of_inequalities(result, scale=0.0):
    """eta(new) >= M(new) >= eta(old)."""
    rounding = 1e-12 * max(np.abs(result.expected_returns).max(), scale)
    assert (np.diff(result.expected_returns) >= -rounding).all()
    assert (result.expected_returns[1:] >= result.lower_bounds - rounding).all()
    assert (result.lower_bounds >= result.expected_returns[:-1] - rounding).all()


@pytest.mark.parametrize(("seed", "gamma", "iterations"), [(0, 0.2, 50), (1, 0.9, 100), (2, 0.99, 50)])
def test_the_return_never_decreases_in_any_iteration(seed, gamma, iterations):
    rng = np.random.default_rng(seed)
    mdp = random_mdp(5, 3, gamma, rng)
    old = mdp.evaluate(random_policy(5, 3, rng))
    result = minorization_maximization(mdp, old.policy, max_iterations=iterations)
    assert result.status == MinorizationMaximizationStatus.MAX_ITERATIONS
    assert len(result.lower_bounds) == iterations
    assert_chain_of_inequalities(result)
    penalty = result.coefficients * result.kl_divergences
    np.testing.assert_allclose(result.approximations - result.lower_bounds, penalty, rtol=1e-7, atol=1e-12)
    assert (np.diff(result.expected_returns) > 0).all()
    assert mdp.evaluate(result.policy).expected_return == result.expected_returns[-1]
    first = minorization_maximization(mdp, old.policy, max_iterations=1).policy
    assert result.approximations[0] == local_approximation(old, first)
    assert result.kl_divergences[0] == max_kl_divergence(old.policy, first)


@settings(max_examples=20)
@given(seed=SEEDS, gamma=st.sampled_from([0.0, 1e-6, 0.1, 0.5, 0.9, 0.99, 0.999]))
def test_the_return_never_decreases_from_any_policy(make_mdp, make_policy, seed, gamma):
    mdp = make_mdp(seed, gamma)
    result = minorization_maximization(mdp, make_policy(mdp, seed + 1), max_iterations=8)
    rows = len(result.lower_bounds)
    assert (rows < 8) == (result.status == MinorizationMaximizationStatus.STATIONARY)
    assert_chain_of_inequalities(result, np.abs(mdp.rewards).max())


def test_return_approaches_the_best_one():
    mdp = random_mdp(4, 3, 0.3, np.random.default_rng(3))
    result = minorization_maximization(mdp, uniform_policy(mdp), max_iterations=100)
    best = max(mdp.evaluate(np.eye(3)[list(actions)]).expected_return for actions in np.ndindex(*[3] * mdp.num_states))
    start = result.expected_returns[0]
    assert best - result.expected_returns[-1] < 0.03 * (best - start)


def bound_by_slsqp(old, mdp, start):
    """Maximise L - C delta over policy and delta, subject to KL_s <= delta, which is smooth."""
    states, actions = mdp.rewards.shape
    coefficient = penalty_coefficient(old)

    def policy_of(x):
        return x[:-1].reshape(states, actions)

    found = scipy.optimize.minimize(
        lambda x: coefficient * x[-1] - np.sum(old.visitation_frequencies[:, None] * policy_of(x) * old.advantages),
        np.append(start.ravel(), max_kl_divergence(old.policy, start)),
        method="SLSQP",
        bounds=[(1e-9, 1)] * (states * actions) + [(0, None)],
        constraints=[
            {"type": "eq", "fun": lambda x: policy_of(x).sum(axis=1) - 1},
            {"type": "ineq", "fun": lambda x: x[-1] - np.sum(old.policy * np.log(old.policy / policy_of(x)), axis=1)},
        ],
        options={"maxiter": 500, "ftol": 1e-14},
    )
    policy = np.clip(policy_of(found.x), 0, None)
    return lower_bound(old, policy / policy.sum(axis=1, keepdims=True))


@pytest.mark.parametrize(("seed", "gamma"), [(0, 0.1), (1, 0.3), (2, 0.6)])
def test_no_constrained_optimiser_finds_a_higher_bound(seed, gamma):
    rng = np.random.default_rng(seed)
    mdp = random_mdp(3, 3, gamma, rng)
    old = mdp.evaluate(0.7 * random_policy(3, 3, rng) + 0.1)
    highest = lower_bound(old, maximize_lower_bound(old).policy)
    found = [bound_by_slsqp(old, mdp, 0.9 * old.policy + 0.1 * random_policy(3, 3, rng)) for _ in range(3)]
    assert max(found) <= highest + 1e-9
    gained = highest - old.expected_return
    assert gained > 1e-4
    assert max(found) >= old.expected_return + 0.98 * gained


@given(seed=SEEDS, gamma=st.sampled_from([0.05, 0.5, 0.9, 0.99]))
def test_no_random_search_finds_a_higher_bound(make_mdp, make_policy, seed, gamma):
    """Far from and near the old policy and the maximiser, and at other divergences along the family."""
    mdp = make_mdp(seed, gamma)
    old = mdp.evaluate(make_policy(mdp, seed + 1))
    maximum = maximize_lower_bound(old)
    highest = lower_bound(old, maximum.policy)
    rng = np.random.default_rng(seed)
    tolerance = 1e-13 * np.abs(mdp.rewards).max() / (1 - gamma) ** 2
    assert highest >= old.expected_return - tolerance
    for center in (old.policy, maximum.policy):
        for size in (1e-6, 1e-4, 1e-2, 1.0):
            target = random_policy(mdp.num_states, mdp.num_actions, rng)
            assert lower_bound(old, (1 - size) * center + size * target) <= highest + tolerance
    for fraction in (0.5, 0.9, 1.1, 1.5):
        other = old.policy + fraction * (maximum.policy - old.policy)
        if (other >= 0).all():
            assert lower_bound(old, other) <= highest + tolerance


@pytest.mark.parametrize("gamma", [0.2, 0.9])
def test_deterministic_policy_is_stationary_however_bad(gamma):
    """Its divergence from other policies grows linearly, and for gamma >= 1/5 C exceeds the gain per divergence."""
    mdp = random_mdp(4, 3, gamma, np.random.default_rng(1))
    worst = np.eye(3)[mdp.evaluate(uniform_policy(mdp)).action_values.argmin(axis=1)]
    result = minorization_maximization(mdp, worst, max_iterations=5)
    assert result.status == MinorizationMaximizationStatus.STATIONARY
    assert len(result.lower_bounds) == 0
    np.testing.assert_array_equal(result.policy, worst)
    # It is far from the best policy, and with a small gamma it can improve.
    assert mdp.evaluate(worst).advantages.max() > 0.5
    short = FiniteMDP(mdp.transitions, mdp.rewards, mdp.initial, 0.05)
    assert len(minorization_maximization(short, worst, max_iterations=5).lower_bounds) > 0


def test_with_gamma_0_one_step_gives_the_best_policy():
    mdp = random_mdp(4, 3, 0.0, np.random.default_rng(2))
    result = minorization_maximization(mdp, uniform_policy(mdp), max_iterations=5)
    assert result.status == MinorizationMaximizationStatus.STATIONARY
    np.testing.assert_array_equal(result.policy, np.eye(3)[mdp.rewards.argmax(axis=1)])
    np.testing.assert_allclose(
        result.expected_returns, [mdp.initial @ mdp.rewards.mean(1), mdp.initial @ mdp.rewards.max(1)]
    )


def test_iterations_must_be_positive():
    mdp = random_mdp(2, 2, 0.5, np.random.default_rng(0))
    with pytest.raises(ValueError, match="max_iterations"):
        minorization_maximization(mdp, uniform_policy(mdp), max_iterations=0)

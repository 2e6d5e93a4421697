"""The identity, the local approximation and the lower bound, on MDPs and policies of every kind."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_trpo.theory import (
    FiniteMDP,
    local_approximation,
    lower_bound,
    max_kl_divergence,
    penalty_coefficient,
    performance_difference,
    random_mdp,
    random_policy,
)

SEEDS = st.integers(0, 1_000_000)
GAMMAS = st.sampled_from([0.0, 0.05, 0.5, 0.9, 0.99])
MIXTURES = st.sampled_from([0.0, 1e-9, 1e-6, 1e-3, 0.03, 0.3, 1.0])


@settings(max_examples=1000)
@given(seed=SEEDS, gamma=GAMMAS, mixture=MIXTURES, against=st.sampled_from([0, 0, -1, 1]))
def test_identity_and_bound_hold_for_any_two_policies(make_mdp, make_policy, seed, gamma, mixture, against):
    """This includes adversarial pairs, whose new policy is the greedy or the worst one, or slightly towards it."""
    mdp = make_mdp(seed, gamma)
    old = mdp.evaluate(make_policy(mdp, seed + 1))
    extreme = np.eye(mdp.num_actions)[(against * old.advantages).argmax(axis=1)]
    target = extreme if against else make_policy(mdp, seed + 2)
    new = mdp.evaluate((1 - mixture) * old.policy + mixture * target)
    scale = np.abs(mdp.rewards).max() / (1 - gamma)
    difference = new.expected_return - old.expected_return
    assert performance_difference(old, new) == pytest.approx(difference, rel=1e-9, abs=1e-9 * scale)
    assert lower_bound(old, new.policy) <= new.expected_return + 1e-13 * scale / (1 - gamma)


@settings(max_examples=20)
@given(seed=SEEDS, gamma=st.sampled_from([0.3, 0.9]))
def test_local_approximation_has_the_gradient_of_the_return(seed, gamma):
    rng = np.random.default_rng(seed)
    mdp = random_mdp(4, 3, gamma, rng)
    policy = 0.1 + 0.7 * random_policy(4, 3, rng)
    old = mdp.evaluate(policy)
    direction = rng.normal(size=(4, 3))
    direction -= direction.mean(axis=1, keepdims=True)
    h = 1e-5
    there, back = (mdp.evaluate(policy + sign * h * direction).expected_return for sign in (1, -1))
    approximation = local_approximation(old, policy + h * direction) - local_approximation(old, policy - h * direction)
    np.testing.assert_allclose(approximation / (2 * h), (there - back) / (2 * h), rtol=1e-5, atol=1e-7)
    # But not more than the gradient: for a long step, the two differ.
    far = random_policy(4, 3, rng)
    assert abs(local_approximation(old, far) - mdp.evaluate(far).expected_return) > 1e-6


def test_one_state_by_hand():
    """Two actions with rewards 1 and 0, uniform old policy, gamma = 1/2: eta = 1, A = +-1/2, C = 4."""
    mdp = FiniteMDP(np.ones((1, 2, 1)), np.array([[1.0, 0.0]]), np.ones(1), 0.5)
    old = mdp.evaluate([[0.5, 0.5]])
    new_policy = np.array([[0.75, 0.25]])
    assert old.expected_return == pytest.approx(1)
    assert penalty_coefficient(old) == pytest.approx(4 * 0.5 * 0.5 / 0.25)
    assert local_approximation(old, new_policy) == pytest.approx(1 + 2 * (0.75 - 0.25) / 2)
    divergence = 0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25)
    assert max_kl_divergence(old.policy, new_policy) == pytest.approx(divergence)
    assert lower_bound(old, new_policy) == pytest.approx(1.5 - 4 * divergence)


def test_dropped_action_makes_the_bound_minus_infinity():
    mdp = random_mdp(2, 2, 0.9, np.random.default_rng(0))
    old = mdp.evaluate([[0.5, 0.5], [0.5, 0.5]])
    new_policy = [[1.0, 0.0], [0.5, 0.5]]
    assert max_kl_divergence(old.policy, new_policy) == np.inf
    assert lower_bound(old, new_policy) == -np.inf


def test_policy_of_another_shape_is_refused():
    old = random_mdp(2, 2, 0.9, np.random.default_rng(0)).evaluate([[0.5, 0.5], [0.5, 0.5]])
    for function, argument in ((local_approximation, old), (max_kl_divergence, old.policy)):
        with pytest.raises(ValueError, match="new_policy"):
            function(argument, [[0.5, 0.5]])

"""The linear-quadratic example against recursions, finite differences, quadrature, sampling and a Riccati solver."""

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st

from examples.lecture import LinearQuadratic

SEEDS = st.integers(0, 100_000)


def random_problem(seed):
    """A problem with a gain of either sign, stable or unstable without control, and a valid theta."""
    rng = np.random.default_rng(seed)
    problem = LinearQuadratic(
        state_gain=rng.uniform(-1.5, 1.5),
        action_gain=rng.choice([-1, 1]) * rng.uniform(0.3, 2),
        noise_std=rng.choice([0.0, 0.5]),
        initial_std=rng.uniform(0.1, 2),
        gamma=rng.choice([0.5, 0.9, 0.97]),
    )
    low, high = problem.stable_gains()
    k = low + rng.uniform(0.1, 0.9) * (high - low)
    return problem, np.array([k, rng.uniform(0.1, 2)])


def second_moments(problem, theta, steps):
    """E[s_t^2] by the recursion, [steps]."""
    k, sigma = theta
    moments = [problem.initial_std**2]
    for _ in range(steps - 1):
        closed_loop = (problem.state_gain + problem.action_gain * k) ** 2
        moments.append(closed_loop * moments[-1] + (problem.action_gain * sigma) ** 2 + problem.noise_std**2)
    return np.array(moments)


@given(seed=SEEDS)
def test_objective_is_the_sum_over_time(seed):
    problem, theta = random_problem(seed)
    k, sigma = theta
    moments = second_moments(problem, theta, 3000)
    rewards = -moments - (k**2 * moments + sigma**2)
    expected = problem.gamma ** np.arange(3000) @ rewards
    assert problem.objective(theta) == pytest.approx(expected, rel=1e-9)


@given(seed=SEEDS)
def test_gradient_is_that_of_finite_differences(seed):
    problem, theta = random_problem(seed)
    h = 1e-6
    expected = [(problem.objective(theta + h * e) - problem.objective(theta - h * e)) / (2 * h) for e in np.eye(2)]
    np.testing.assert_allclose(problem.gradient(theta), expected, rtol=1e-5, atol=1e-6 * abs(problem.objective(theta)))


@given(seed=SEEDS)
def test_fisher_is_the_mean_outer_product_of_scores(seed):
    """Gauss-Hermite quadrature over actions and over the Gaussian state of each time."""
    problem, theta = random_problem(seed)
    k, sigma = theta
    steps = 1200
    nodes, weights = np.polynomial.hermite_e.hermegauss(6)
    weights = weights / weights.sum()
    states = np.sqrt(second_moments(problem, theta, steps))[:, None, None] * nodes[:, None]
    actions = k * states + sigma * nodes
    scores = np.stack([(actions - k * states) * states / sigma**2, ((actions - k * states) ** 2 - sigma**2) / sigma**3])
    over_time = (1 - problem.gamma) * problem.gamma ** np.arange(steps)
    density = over_time[:, None, None] * weights[:, None] * weights
    expected = np.einsum("itsa,jtsa,tsa->ij", scores, scores, density, optimize=True)
    np.testing.assert_allclose(problem.fisher(theta), expected, rtol=1e-8, atol=1e-8 * np.abs(expected).max())


@given(seed=SEEDS)
def test_natural_gradient_solves_with_the_fisher_matrix_and_vectorises(seed):
    problem, theta = random_problem(seed)
    natural = problem.natural_gradient(theta)
    np.testing.assert_allclose(problem.fisher(theta) @ natural, problem.gradient(theta), rtol=1e-10)
    assert natural @ problem.gradient(theta) >= 0
    grid = np.stack([theta, theta * [1, 2]])
    np.testing.assert_array_equal(problem.natural_gradient(grid)[0], natural)
    assert problem.fisher(grid).shape == (2, 2, 2)


@given(seed=SEEDS)
def test_optimal_gain_is_that_of_the_riccati_equation(seed):
    problem, theta = random_problem(seed)
    root = np.sqrt(problem.gamma)
    a, b = root * problem.state_gain * np.eye(1), root * problem.action_gain * np.eye(1)
    cost = scipy.linalg.solve_discrete_are(a, b, np.eye(1), np.eye(1))
    expected = -(b * cost * a) / (1 + b * cost * b)
    assert problem.optimal_gain() == pytest.approx(expected[0, 0], rel=1e-8, abs=1e-10)
    assert problem.is_valid([problem.optimal_gain(), 1.0])
    # For every sigma, the gradient in k is 0, and a smaller sigma is better.
    best = np.array([problem.optimal_gain(), theta[1]])
    assert abs(problem.gradient(best)[0]) < 1e-9 * abs(problem.objective(best))
    assert problem.gradient(theta)[1] < 0


def test_validity_ends_where_the_return_diverges():
    problem = LinearQuadratic()
    low, high = problem.stable_gains()
    inside = np.array([[low + 1e-6, 1.0], [high - 1e-6, 1.0]])
    outside = np.array([[low - 1e-6, 1.0], [high + 1e-6, 1.0], [-1.0, 0.0], [-1.0, -0.5], [np.nan, 1.0]])
    assert problem.is_valid(inside).all()
    assert not problem.is_valid(outside).any()
    assert (problem.objective(inside) < -1e4).all()
    assert (problem.objective(outside) == -np.inf).all()
    for theta in outside:
        for function in (problem.gradient, problem.fisher, problem.natural_gradient):
            with pytest.raises(ValueError, match="theta"):
                function(theta)
    with pytest.raises(ValueError, match="theta"):
        problem.gradient([1.0])


@pytest.mark.parametrize(
    "setting",
    [{"action_gain": 0.0}, {"gamma": 1.0}, {"gamma": 0.0}, {"noise_std": -1.0}, {"noise_std": 0.0, "initial_std": 0.0}],
)
def test_setting_outside_its_range_is_named(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        LinearQuadratic(**setting)

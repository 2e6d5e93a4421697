"""The loop against SciPy's, its rules against its record, and each reason for stopping."""

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st

from examples.lecture import TrustRegionSettings, TrustRegionStatus, cauchy_step, dogleg_step, exact_step
from examples.lecture import minimize_in_trust_regions as minimize

ROSENBROCK = (scipy.optimize.rosen, scipy.optimize.rosen_der, scipy.optimize.rosen_hess)


def double_well(weights):
    """sum (x_i^2 - 1)^2 + coupling: many minima and saddles."""
    coupling = np.outer(weights, weights)
    return (
        lambda x: np.sum((x**2 - 1) ** 2) + 0.5 * x @ coupling @ x,
        lambda x: 4 * x * (x**2 - 1) + coupling @ x,
        lambda x: np.diag(12 * x**2 - 4) + coupling,
    )


SADDLE = (lambda x: x[0] ** 2 - x[1] ** 2 + x[1] ** 4, lambda x: np.array([2 * x[0], -2 * x[1] + 4 * x[1] ** 3]))
SADDLE = (*SADDLE, lambda x: np.diag([2.0, -2 + 12 * x[1] ** 2]))


@given(seed=st.integers(0, 10_000), size=st.integers(1, 6))
def test_minimum_of_a_non_convex_function_is_one(seed, size):
    rng = np.random.default_rng(seed)
    functions = double_well(rng.normal(size=size))
    result = minimize(*functions, rng.normal(size=size))
    assert result.status == TrustRegionStatus.MINIMUM
    assert np.linalg.norm(functions[1](result.x)) <= 1e-8
    assert np.linalg.eigvalsh(functions[2](result.x))[0] >= -1e-6


@given(seed=st.integers(0, 10_000), solver=st.sampled_from([exact_step, dogleg_step, cauchy_step]))
def test_record_follows_the_rules_of_the_algorithm(seed, solver):
    rng = np.random.default_rng(seed)
    function, gradient, hessian = double_well(rng.normal(size=3))
    options = TrustRegionSettings(
        radius=rng.choice([0.1, 3.0]), max_radius=4.0, accept_above=rng.choice([0.0, 0.2]), max_iterations=30
    )
    result = minimize(function, gradient, hessian, 2 * rng.normal(size=3), solver=solver, settings=options)
    for k in range(len(result.radii)):
        x, step = result.iterates[k], result.candidates[k] - result.iterates[k]
        predicted = -(gradient(x) @ step) - 0.5 * step @ hessian(x) @ step
        assert np.linalg.norm(step) <= result.radii[k] * (1 + 1e-9)
        if predicted > 1e-10:
            assert result.ratios[k] == pytest.approx((function(x) - function(x + step)) / predicted, rel=1e-3)
        assert result.accepted[k] == (result.ratios[k] > options.accept_above)
        following = result.iterates[k + 1] if k + 1 < len(result.radii) else result.x
        np.testing.assert_array_equal(following, result.candidates[k] if result.accepted[k] else x)
        assert function(following) <= function(x) + 1e-14 * max(1, abs(function(x)))
        if k + 1 < len(result.radii):
            on_boundary = np.linalg.norm(step) >= result.radii[k] * (1 - 1e-9)
            factor = 0.25 if result.ratios[k] < 0.25 else 2.0 if result.ratios[k] > 0.75 and on_boundary else 1.0
            assert result.radii[k + 1] == min(result.radii[k] * factor, 4.0)


def test_exact_solver_leaves_a_saddle_that_steepest_descent_does_not():
    exact = minimize(*SADDLE, [1.0, 0.0])
    assert exact.status == TrustRegionStatus.MINIMUM
    np.testing.assert_allclose(np.abs(exact.x), [0, np.sqrt(0.5)], atol=1e-7)
    for solver in (cauchy_step, dogleg_step):
        stuck = minimize(*SADDLE, [1.0, 0.0], solver=solver)
        assert stuck.status == TrustRegionStatus.SADDLE_POINT
        np.testing.assert_allclose(stuck.x, [0, 0], atol=1e-8)


def test_iterations_run_out_and_a_start_at_the_minimum_needs_none():
    result = minimize(*ROSENBROCK, [-1.2, 1.0], settings=TrustRegionSettings(max_iterations=3))
    assert (result.status, len(result.radii)) == (TrustRegionStatus.MAX_ITERATIONS, 3)
    result = minimize(*ROSENBROCK, [1.0, 1.0])
    assert (result.status, len(result.radii)) == (TrustRegionStatus.MINIMUM, 0)


def test_gradient_of_the_wrong_sign_ends_with_a_small_radius():
    function, gradient, hessian = ROSENBROCK
    result = minimize(function, lambda x: -gradient(x), hessian, [-1.2, 1.0])
    assert result.status == TrustRegionStatus.RADIUS_TOO_SMALL
    assert not result.accepted.any()
    np.testing.assert_array_equal(result.x, [-1.2, 1.0])


def test_candidate_where_the_function_is_not_finite_is_refused():
    """log x from the left of its minimum: the first step goes below 0."""
    barrier = lambda x: x[0] - np.log(x[0]) if x[0] > 0 else np.nan, lambda x: 1 - 1 / x, lambda x: np.diag(x**-2)
    result = minimize(*barrier, [3.0], settings=TrustRegionSettings(radius=50.0))
    assert result.ratios[0] == -np.inf
    assert not result.accepted[0]
    assert result.status == TrustRegionStatus.MINIMUM
    assert result.x[0] == pytest.approx(1)


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_start_that_is_not_finite_ends_at_once(broken):
    functions = list(ROSENBROCK)
    shape = [(), (2,), (2, 2)][broken]
    functions[broken] = lambda x: np.full(shape, np.nan)
    result = minimize(*functions, [0.0, 0.0])
    assert result.status == TrustRegionStatus.NOT_FINITE
    assert result.iterates.shape == (0, 2)


@pytest.mark.parametrize(
    ("message", "refused"),
    [
        ("radii", [{"radius": 0.0}, {"radius": 200.0}, {"min_radius": 0.0}]),
        ("thresholds", [{"accept_above": 0.3}, {"expand_above": 1.0}, {"shrink_below": 0.8}]),
        ("factors", [{"shrink_factor": 1.0}, {"expand_factor": 1.0}]),
        ("gradient_tolerance", [{"gradient_tolerance": -1.0}]),
        ("max_iterations", [{"max_iterations": 0}]),
    ],
)
def test_setting_outside_its_range_is_named(message, refused):
    for setting in refused:
        with pytest.raises(ValueError, match=message):
            TrustRegionSettings(**setting)

"""The valley is not convex where it starts, all solvers reach its minimum, and the figure's record is theirs."""

import numpy as np
import pytest
import scipy.optimize

from examples.lecture import TrustRegionStatus
from examples.lecture.figures.trust_region_method import MINIMUM, START, valley, valley_gradient, valley_hessian


@pytest.fixture(scope="module")
def data(figure_of):
    return figure_of(3)[1]


def test_derivatives_of_the_valley_are_those_of_finite_differences():
    for point in np.random.default_rng(0).normal(size=(10, 2)):
        expected = scipy.optimize.approx_fprime(point, valley, 1e-7)
        np.testing.assert_allclose(valley_gradient(point), expected, rtol=1e-4, atol=1e-4)
        columns = scipy.optimize.approx_fprime(point, valley_gradient, 1e-7)
        np.testing.assert_allclose(valley_hessian(point), columns, rtol=1e-4, atol=1e-4)


def test_valley_is_not_convex_at_the_start():
    assert np.linalg.eigvalsh(valley_hessian(np.array(START)))[0] < -1


def test_every_solver_finds_the_minimum_and_has_steps_refused_and_steepest_descent_takes_far_more(data):
    for name, result in data.results.items():
        assert result.status == TrustRegionStatus.MINIMUM, name
        np.testing.assert_allclose(result.x, MINIMUM, atol=1e-5)
        assert not result.accepted.all()
        assert (np.diff(data.errors[name]) <= 1e-14).all()
        assert data.errors[name][-1] < 1e-12
    steps = {name: len(result.radii) for name, result in data.results.items()}
    assert steps["steepest descent"] > 20 * max(steps["exact"], steps["dogleg"])

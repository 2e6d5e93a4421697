"""The paths reach the solution as they should, and every error curve stays below its bound."""

import numpy as np
import pytest

from examples.lecture.figures.conjugate_gradient import CONDITIONS, ITERATIONS, PLANE_CONDITION, ill_conditioned_system


@pytest.fixture(scope="module")
def data(figure_of):
    return figure_of(4)[1]


def test_conjugate_gradient_needs_two_iterations_in_the_plane_and_steepest_descent_more_than_forty(data):
    assert np.linalg.cond(data.matrix) == pytest.approx(PLANE_CONDITION)
    np.testing.assert_allclose(data.conjugate_path[-1], data.solution, atol=1e-12)
    assert len(data.conjugate_path) == 3
    np.testing.assert_allclose(data.conjugate_path[1], data.steepest_path[1])
    assert len(data.steepest_path) == 41
    assert np.linalg.norm(data.steepest_path[-1] - data.solution) > 1e-3


def test_steepest_descent_starts_where_it_is_slowest(data):
    errors = data.steepest_path - data.solution
    norms = np.sqrt(np.einsum("ki,ij,kj->k", errors, data.matrix, errors))
    np.testing.assert_allclose(norms[1:] / norms[:-1], (PLANE_CONDITION - 1) / (PLANE_CONDITION + 1), rtol=1e-6)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_errors_fall_and_stay_below_their_bounds(data, condition):
    curves = data.errors[condition]
    assert np.linalg.cond(ill_conditioned_system(condition)[0]) == pytest.approx(condition)
    for errors, bounds in ((curves.steepest, curves.steepest_bound), (curves.conjugate, curves.conjugate_bound)):
        assert errors.shape == bounds.shape == ITERATIONS.shape
        assert errors[0] == 1
        assert (np.diff(errors) < 0).all()
        assert (errors <= bounds).all()
    assert curves.conjugate[-1] < 0.02 * curves.steepest[-1]

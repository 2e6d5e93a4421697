"""Steepest descent: exact line searches, orthogonal directions, and the rate by the condition number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.lecture import steepest_descent


def definite_system(seed, size):
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.normal(size=(size, size)))
    matrix = basis @ np.diag(rng.uniform(0.5, 20.0, size)) @ basis.T
    return (matrix + matrix.T) / 2, *rng.normal(size=(2, size))


@given(seed=st.integers(0, 10_000), size=st.integers(2, 8))
def test_each_step_goes_to_the_minimum_along_the_residual(seed, size):
    matrix, b, start = definite_system(seed, size)
    iterates = steepest_descent(matrix, b, start, max_iterations=5)
    np.testing.assert_array_equal(iterates[0], start)
    residuals = b - iterates @ matrix
    for k, step in enumerate(np.diff(iterates, axis=0)):
        before, after = residuals[k], residuals[k + 1]
        if np.linalg.norm(before) < 1e-3 * np.linalg.norm(residuals[0]):
            break
        assert step @ before == pytest.approx(np.linalg.norm(step) * np.linalg.norm(before))
        assert abs(before @ after) <= 1e-9 * (before @ before)
        values = [0.5 * x @ matrix @ x - b @ x for x in (iterates[k] + t * step for t in (0.99, 1.0, 1.01))]
        assert values[1] < min(values[0], values[2])


def test_minimum_ends_the_path():
    assert len(steepest_descent(np.eye(2), np.ones(2), np.zeros(2), max_iterations=9)) == 2
    assert len(steepest_descent(np.eye(2), np.ones(2), np.ones(2), max_iterations=9)) == 1


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="max_iterations"):
        steepest_descent(np.eye(2), np.ones(2), np.zeros(2), max_iterations=-1)
    with pytest.raises(ValueError, match="positive definite"):
        steepest_descent(np.diag([1.0, -2.0]), np.ones(2), np.zeros(2), max_iterations=3)

"""The curves are Taylor polynomials, and the bars end where the error passes the tolerance."""

import numpy as np
import pytest

from examples.lecture.figures.taylor_approximation import CENTER, LARGEST_ORDER, TOLERANCE


@pytest.fixture(scope="module")
def data(figure_of):
    return figure_of(2)[1]


def test_there_is_a_polynomial_of_each_order(data):
    assert data.polynomials.shape == (LARGEST_ORDER + 1, len(data.x))
    np.testing.assert_allclose(data.function, np.exp(-(data.x**2)))
    for order, values in enumerate(data.polynomials):
        fitted = np.polynomial.Polynomial.fit(data.x, values, order)
        np.testing.assert_allclose(fitted(data.x), values, atol=1e-9 * np.abs(values).max())


def test_error_is_within_the_tolerance_up_to_the_radius_and_passes_it_there(data):
    error = np.abs(data.polynomials - data.function)
    for order, radius in enumerate(data.trusted_radii):
        distance = np.abs(data.x - CENTER)
        assert error[order, distance <= radius].max() <= TOLERANCE
        beyond = (distance > radius) & (distance < radius + 0.05)
        assert error[order, beyond].max() > TOLERANCE


def test_high_orders_are_trusted_further_than_low_ones(data):
    assert (data.trusted_radii > 0).all()
    assert data.trusted_radii[-1] > 2 * data.trusted_radii[2]
    # Not in every step: around 1, the fifth order is worse than the fourth.
    assert data.trusted_radii[5] < data.trusted_radii[4]

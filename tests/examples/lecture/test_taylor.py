"""Taylor polynomials of exp(-x^2) against symbolic derivatives and the size of the remainder."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import Polynomial, hermite

from examples.lecture import bell_curve, bell_curve_taylor_coefficients, taylor_polynomial

PROPERTY = settings(deadline=None, max_examples=40, derandomize=True)
CENTERS = st.floats(-2.5, 2.5)


@PROPERTY
@given(center=CENTERS)
def test_coefficients_are_the_derivatives_over_the_factorials(center):
    """The j-th derivative is P_j(x) exp(-x^2) with P_{j+1} = P_j' - 2 x P_j."""
    factor = Polynomial([1.0])
    coefficients = bell_curve_taylor_coefficients(center, 12)
    for j, coefficient in enumerate(coefficients):
        expected = factor(center) * math.exp(-(center**2)) / math.factorial(j)
        assert coefficient == pytest.approx(expected, rel=1e-9, abs=1e-11)
        factor = factor.deriv() - Polynomial([0.0, 2.0]) * factor


@PROPERTY
@given(center=CENTERS, order=st.integers(0, 15))
def test_coefficients_are_hermite_polynomials(center, order):
    expected = (-1) ** order * hermite.hermval(center, np.eye(order + 1)[order])
    expected *= math.exp(-(center**2)) / math.factorial(order)
    assert bell_curve_taylor_coefficients(center, order)[order] == pytest.approx(expected, rel=1e-9, abs=1e-12)


@PROPERTY
@given(center=st.floats(-1.5, 1.5), order=st.integers(0, 6))
def test_error_falls_with_the_power_of_the_distance_that_the_order_promises(center, order):
    coefficients = bell_curve_taylor_coefficients(center, order + 2)
    x = center + np.array([0.02, 0.01])
    error = bell_curve(x) - taylor_polynomial(coefficients[: order + 1], center, x)
    expected = taylor_polynomial(coefficients[order + 1 :], center, x) * (x - center) ** (order + 1)
    np.testing.assert_allclose(error, expected, atol=2.0 * 0.02 ** (order + 3) + 1e-15)


def test_second_order_around_1_is_the_lectures_model():
    x = np.linspace(-1, 3, 9)
    model = (1 - 2 * (x - 1) + (x - 1) ** 2) / math.e
    np.testing.assert_allclose(taylor_polynomial(bell_curve_taylor_coefficients(1.0, 2), 1.0, x), model, atol=1e-15)


def test_series_converges_everywhere_without_overflow():
    coefficients = bell_curve_taylor_coefficients(1.0, 400)
    assert np.isfinite(coefficients).all()
    x = np.linspace(-0.5, 2.5, 31)
    np.testing.assert_allclose(taylor_polynomial(coefficients, 1.0, x), bell_curve(x), atol=1e-12)


def test_negative_order_is_refused():
    with pytest.raises(ValueError, match="order"):
        bell_curve_taylor_coefficients(1.0, -1)

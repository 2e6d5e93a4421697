"""Taylor polynomials of exp(-x^2) against symbolic derivatives and the size of the remainder."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial import Polynomial

from examples.lecture import bell_curve, bell_curve_taylor_coefficients, taylor_polynomial

CENTERS = st.floats(-2.5, 2.5)


@given(center=CENTERS)
def test_coefficients_are_the_derivatives_over_the_factorials(center):
    """The j-th derivative is P_j(x) exp(-x^2) with P_{j+1} = P_j' - 2 x P_j."""
    factor = Polynomial([1.0])
    coefficients = bell_curve_taylor_coefficients(center, 12)
    for j, coefficient in enumerate(coefficients):
        expected = factor(center) * math.exp(-(center**2)) / math.factorial(j)
        assert coefficient == pytest.approx(expected, rel=1e-9, abs=1e-11)
        factor = factor.deriv() - Polynomial([0.0, 2.0]) * factor


def test_series_converges_everywhere_without_overflow():
    coefficients = bell_curve_taylor_coefficients(1.0, 400)
    assert np.isfinite(coefficients).all()
    x = np.linspace(-0.5, 2.5, 31)
    np.testing.assert_allclose(taylor_polynomial(coefficients, 1.0, x), bell_curve(x), atol=1e-12)


def test_negative_order_is_refused():
    with pytest.raises(ValueError, match="order"):
        bell_curve_taylor_coefficients(1.0, -1)

"""log(1 + x) - x against exact rational series and the plain difference."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_trpo.theory.logarithm import log1p_minus

PROPERTY = settings(deadline=None, max_examples=60, derandomize=True)


def exact_series(x):
    """-x^2/2 + x^3/3 - ..., in rational arithmetic."""
    return float(sum(Fraction(-1) ** (n + 1) * Fraction(x) ** n / n for n in range(2, 25)))


@PROPERTY
@given(exponent=st.floats(-300, -1), sign=st.sampled_from([-1, 1]))
def test_small_arguments_keep_every_digit(exponent, sign):
    x = sign * 0.999 * 10.0**exponent
    assert log1p_minus(np.array(x)) == pytest.approx(exact_series(x), rel=1e-14, abs=5e-324)


@PROPERTY
@given(x=st.floats(-0.999999, 1e6).filter(lambda x: abs(x) >= 0.1))
def test_large_arguments_are_the_plain_difference(x):
    assert log1p_minus(np.array(x)) == pytest.approx(math.log1p(x) - x, rel=1e-14)


def test_the_two_branches_meet():
    below, above = log1p_minus(np.array([np.nextafter(0.1, 0), 0.1]))
    assert below == pytest.approx(above, rel=1e-13)
    np.testing.assert_array_equal(log1p_minus(np.array([0.0])), [0.0])

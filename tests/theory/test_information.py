"""Information measures against SciPy, numerical integration and the lecture's examples."""

import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_trpo.theory import (
    cross_entropy,
    entropy,
    gaussian_entropy,
    gaussian_kl_divergence,
    information,
    kl_divergence,
)
from tf_trpo.theory.information import log1p_minus

SEEDS = st.integers(0, 100_000)
UNITS = st.sampled_from([("nats", np.e), ("bits", 2)])


def distributions(seed, count, size):
    """Random distributions, some of them with zeros."""
    rng = np.random.default_rng(seed)
    weights = rng.gamma(0.5, size=(count, size)) * (rng.random((count, size)) < 0.8)
    weights[:, 0] += 1e-3
    return weights / weights.sum(axis=1, keepdims=True)


# "information that A has happened is -log2(0.75) = 0.41 (and for B it is 2)"; "-log2(0.5) = 1". The slide cuts off.
@pytest.mark.parametrize(("probability", "bits"), [(0.75, 0.41), (0.25, 2.0), (0.5, 1.0), (1.0, 0.0)])
def test_information_of_the_lectures_events(probability, bits):
    assert np.floor(100 * information(probability, "bits")) / 100 == bits


@given(seed=SEEDS, size=st.integers(1, 8), unit_and_base=UNITS)
def test_entropy_and_divergence_are_scipys_and_cross_entropy_is_their_sum(seed, size, unit_and_base):
    unit, base = unit_and_base
    p, q = distributions(seed, 4, size), distributions(seed + 1, 4, size)
    np.testing.assert_allclose(entropy(p, unit), scipy.stats.entropy(p, base=base, axis=1), atol=1e-12)
    expected = np.maximum(scipy.stats.entropy(p, q, base=base, axis=1), 0)
    np.testing.assert_allclose(kl_divergence(p, q, unit), expected, atol=1e-12)
    np.testing.assert_allclose(cross_entropy(p, q, unit), entropy(p, unit) + expected, atol=1e-12)


def test_missing_support_is_infinite_and_outcomes_of_probability_0_cost_nothing():
    assert kl_divergence([0.5, 0.5], [1.0, 0.0]) == np.inf
    assert cross_entropy([0.5, 0.5], [1.0, 0.0]) == np.inf
    assert kl_divergence([1.0, 0.0], [0.5, 0.5]) == pytest.approx(np.log(2))
    assert cross_entropy([1.0, 0.0], [1.0, 0.0]) == 0
    assert entropy([1.0, 0.0]) == 0
    assert information(0.0) == np.inf


@pytest.mark.parametrize("shift", [1e-2, 1e-4, 1e-7, 1e-12])
def test_divergence_of_nearly_equal_distributions_is_accurate(shift):
    """KL of (1/2, 1/2) from (1/2 + h, 1/2 - h) is -1/2 log(1 - 4 h^2)."""
    q = np.array([0.5 + shift, 0.5 - shift])
    exact = -0.5 * np.log1p(-((q[0] - q[1]) ** 2))
    assert kl_divergence([0.5, 0.5], q) == pytest.approx(exact, rel=1e-11)


def test_divergence_does_not_depend_on_rounding_of_sums():
    assert kl_divergence([1 / 3] * 3, [1 / 3] * 3) == 0
    q = np.array([0.1, 0.2, 0.7])
    assert kl_divergence(q, q * (1 + 3e-16)) < 1e-30
    assert kl_divergence([5e-324, 1.0], [0.5, 0.5]) == pytest.approx(np.log(2))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_probabilities_of_less_precision_are_distributions(dtype):
    """As a network gives them: their sum differs from 1 by the rounding of their type."""
    exact = scipy.special.softmax(np.arange(-3.0, 4.0) / 3)
    p = exact.astype(dtype)
    assert abs(p.sum(dtype=np.float64) - 1) > 1e-9
    assert entropy(p) == pytest.approx(scipy.stats.entropy(p.astype(np.float64)), rel=1e-12)
    assert kl_divergence(p, exact) == pytest.approx(0, abs=float(np.finfo(dtype).eps))
    with pytest.raises(ValueError, match="p must sum"):
        entropy(p * dtype(0.9))


def integral(integrand, mean, std):
    return scipy.integrate.quad(integrand, mean - 12 * std, mean + 12 * std, epsabs=1e-12, limit=200)[0]


@given(mean=st.floats(-2, 2), std=st.floats(0.2, 3), other_mean=st.floats(-2, 2), other_std=st.floats(0.2, 3))
def test_gaussian_measures_are_their_integrals(mean, std, other_mean, other_std):
    p, q = scipy.stats.norm(mean, std), scipy.stats.norm(other_mean, other_std)

    def log_density(x, mean, std):
        return -0.5 * ((x - mean) / std) ** 2 - np.log(std * np.sqrt(2 * np.pi))

    def density(x):
        return np.exp(log_density(x, mean, std))

    crossed = integral(lambda x: -density(x) * log_density(x, other_mean, other_std), mean, std)
    own = integral(lambda x: -density(x) * log_density(x, mean, std), mean, std)
    assert gaussian_kl_divergence(mean, std, other_mean, other_std) == pytest.approx(crossed - own, abs=1e-8, rel=1e-8)
    assert gaussian_entropy(std) == pytest.approx(p.entropy(), abs=1e-12)
    assert gaussian_entropy(other_std, "bits") == pytest.approx(q.entropy() / np.log(2), abs=1e-12)


@given(seed=SEEDS, size=st.integers(1, 6))
def test_diagonal_gaussians_are_sums_over_dimensions(seed, size):
    rng = np.random.default_rng(seed)
    means, stds = rng.normal(size=(2, size)), rng.uniform(0.1, 3, size=(2, size))
    arguments = (means[0], stds[0], means[1], stds[1])
    each = [gaussian_kl_divergence(*numbers) for numbers in zip(*arguments, strict=True)]
    assert gaussian_kl_divergence(*arguments) == pytest.approx(sum(each), abs=1e-12)
    assert gaussian_kl_divergence(*arguments, "bits") == pytest.approx(sum(each) / np.log(2))
    assert gaussian_entropy(stds[0]) == pytest.approx(sum(map(gaussian_entropy, stds[0])), abs=1e-12)


@pytest.mark.parametrize("ratio", [1e-3, 1e-5, 1e-9])
def test_divergence_of_nearly_equal_gaussians_is_accurate(ratio):
    """KL(sigma, sigma (1 + e)) = e^2 + O(e^3)."""
    assert gaussian_kl_divergence(0.0, 1.0, 0.0, 1.0 + ratio) == pytest.approx(ratio**2, rel=2 * ratio)
    assert gaussian_kl_divergence(1.0, 2.0, 1.0, 2.0) == 0


@pytest.mark.parametrize("ratio", [1e-9, 1e-8, 1e-6, 0.5, 0.9, 0.95, 1.05, 1.1, 2.0, 1e6])
@pytest.mark.parametrize("unit", [1e-200, 1.0, 1e160])
def test_divergence_of_gaussians_of_any_scale_is_accurate(ratio, unit):
    exact = (Fraction(ratio) ** 2 - 1) / 2
    expected = float(exact) - np.log(ratio)
    assert gaussian_kl_divergence(0.0, ratio * unit, 0.0, unit) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("std_p", "std_q", "expected"), [(1e200, 1e-200, np.inf), (1e-200, 1e200, 400 * np.log(10) - 0.5)]
)
def test_divergence_of_gaussians_whose_ratio_is_beyond_float64(std_p, std_q, expected):
    assert gaussian_kl_divergence(0.0, std_p, 0.0, std_q) == pytest.approx(expected)
    assert gaussian_kl_divergence(1.0, std_p, 0.0, 1e-200) == np.inf


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: entropy([0.5, 0.6]), "p must sum"),
        (lambda: kl_divergence([0.5, 0.5], [1.5, -0.5]), "q must be probabilities"),
        (lambda: entropy(1.0), "p must be"),
        (lambda: kl_divergence([0.5, 0.5], [1.0]), "as many outcomes"),
        (lambda: cross_entropy([[1.0]], [[0.5, 0.5]]), "as many outcomes"),
        (lambda: information(1.5), "probability"),
        (lambda: information(np.nan), "probability"),
        (lambda: entropy([1.0], "bans"), "unit"),
        (lambda: gaussian_entropy(0.0), "std"),
        (lambda: gaussian_kl_divergence(0.0, 1.0, 0.0, np.nan), "std_q"),
    ],
)
def test_bad_argument_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def exact_series(x):
    """-x^2/2 + x^3/3 - ..., in rational arithmetic."""
    return float(sum(Fraction(-1) ** (n + 1) * Fraction(x) ** n / n for n in range(2, 25)))


@settings(max_examples=60)
@given(exponent=st.floats(-300, -1), sign=st.sampled_from([-1, 1]))
def test_small_arguments_are_accurate_to_every_digit(exponent, sign):
    x = sign * 0.999 * 10.0**exponent
    assert log1p_minus(np.array(x)) == pytest.approx(exact_series(x), rel=1e-14, abs=5e-324)


@settings(max_examples=60)
@given(x=st.floats(-0.999999, 1e6).filter(lambda x: abs(x) >= 0.1))
def test_large_arguments_are_the_plain_difference(x):
    assert log1p_minus(np.array(x)) == pytest.approx(math.log1p(x) - x, rel=1e-14)

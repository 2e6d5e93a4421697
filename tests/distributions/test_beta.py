"""Beta distribution: closed forms against SciPy, samples, and extremes."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import integrate, special, stats

from tf_trpo.distributions import Beta
from tf_trpo.distributions.beta import LARGEST_ACTION, PROPOSALS
from tf_trpo.numerics import Reflection


def make_beta(size=2):
    return Beta([-1.0] * size, [5.0] * size)


def random_parameters(rows=20, seed=0, largest=30.0):
    return 1.0 + largest * np.random.default_rng(seed).random((rows, 4)) ** 3


def halves(parameters):
    return np.split(parameters, 2, axis=-1)


def test_concentrations_are_above_one_and_start_at_the_middle():
    parameters = make_beta().parameters(tf.constant([[0.0, -1e4, 1e4, 3.0]])).numpy()
    np.testing.assert_allclose(parameters, [[1 + np.log(2), 1, 1e4 + 1, 4.0485873]], rtol=1e-6)


def test_log_prob_and_entropy_are_those_of_a_beta_between_minus_one_and_one():
    parameters, actions = random_parameters(), np.random.default_rng(1).uniform(-1, 1, (20, 2))
    beta = stats.beta(*halves(parameters), loc=-1, scale=2)
    for log_prob in (make_beta().log_prob, lambda p, a: make_beta().distribution(p).log_prob(a)):
        found = log_prob(tf.constant(parameters), tf.constant(actions))
        np.testing.assert_allclose(found, beta.logpdf(actions).sum(axis=1), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        make_beta().entropy(tf.constant(parameters)), beta.entropy().sum(axis=1), rtol=1e-9, atol=1e-9
    )


def test_kl_is_the_integral():
    old, new = random_parameters(3, seed=1), random_parameters(3, seed=2)
    kl = make_beta().kl(tf.constant(old), tf.constant(new))
    for row in range(3):
        expected = 0.0
        for dimension in range(2):
            p, q = (stats.beta(of[row, dimension], of[row, 2 + dimension]) for of in (old, new))
            expected += integrate.quad(lambda x, p=p, q=q: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), 0, 1)[0]
        np.testing.assert_allclose(kl[row], expected, rtol=1e-6)
    made = [make_beta().distribution(tf.constant(of)).distribution.distribution for of in (old, new)]
    np.testing.assert_allclose(kl, tf.reduce_sum(made[0].kl_divergence(made[1]), axis=1), rtol=1e-8)


def test_the_metric_is_scipys_polygamma():
    parameters, vectors = random_parameters(largest=1e4), np.random.default_rng(3).normal(size=(20, 4))
    (a, b), (u, v) = halves(parameters), halves(vectors)
    shared = special.polygamma(1, a + b) * (u + v)
    expected = np.concatenate([special.polygamma(1, a) * u - shared, special.polygamma(1, b) * v - shared], axis=1)
    product = make_beta().metric_product(tf.constant(parameters), tf.constant(vectors))
    np.testing.assert_allclose(product, expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("concentration", [1e1, 1e4, 1e6])
def test_the_metric_is_accurate_in_float32_for_actions_that_are_almost_certain(concentration):
    """Along u = (a, a), trigamma(a) u - trigamma(2 a) 2 u is a difference of nearly equal numbers."""
    parameters = np.full((1, 4), concentration)
    a = concentration
    exact = (special.polygamma(1, a) - 2 * special.polygamma(1, 2 * a)) * a
    product = make_beta().metric_product(*(tf.constant(parameters, tf.float32) for _ in range(2)))
    assert product.dtype == tf.float32
    np.testing.assert_allclose(product, np.full((1, 4), exact), rtol=1e-6)


def test_xla_gives_the_same_log_prob_kl_entropy_metric_and_gradients():
    beta, old, new = make_beta(), tf.constant(random_parameters()), tf.constant(random_parameters(seed=5))
    actions = tf.constant(np.random.default_rng(1).uniform(-1, 1, (20, 2)))

    def values():
        with tf.GradientTape() as tape:
            tape.watch(new)
            made = beta.log_prob(new, actions), beta.kl(old, new), beta.entropy(new)
            total = made[0] + 2.0 * made[1] + 3.0 * made[2]
        return [*made, beta.metric_product(new, old), tape.gradient(total, new)]

    for one, other in zip(tf.function(values, jit_compile=True)(), values(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("concentrations", [(1, 1), (1, 2), (1.69, 1.69), (2, 30), (400, 3), (1e4, 2e4)])
def test_samples_are_those_of_the_distribution(concentrations):
    """By the Kolmogorov-Smirnov test; also, samples rarely hit a bound if the distribution does not."""
    beta, count = make_beta(1), 50_000
    parameters = tf.tile(tf.constant([concentrations], tf.float32), [count, 1])
    noise = beta.noise([count], tf.constant([3, 4]))
    assert noise.shape == (count, 2 * PROPOSALS, 2)
    actions = beta.sample(parameters, noise).numpy()[:, 0]
    assert np.abs(actions).max() <= LARGEST_ACTION < 1
    assert stats.kstest(actions, stats.beta(*concentrations, loc=-1, scale=2).cdf).pvalue > 1e-3


def test_samples_of_two_dimensions_are_independent():
    beta, count = make_beta(), 50_000
    parameters = tf.tile(tf.constant([[2.0, 1.5, 3.0, 1.5]]), [count, 1])
    actions = beta.sample(parameters, beta.noise([count], tf.constant([3, 4]))).numpy()
    assert abs(np.corrcoef(actions.T)[0, 1]) < 4 / np.sqrt(count)


def test_a_gamma_variate_without_an_accepted_proposal_is_near_the_mode():
    beta = make_beta(1)
    noise = np.concatenate([np.full((1, PROPOSALS, 2), -9.0), np.zeros((1, PROPOSALS, 2))], axis=1).astype(np.float32)
    actions = beta.sample(tf.constant([[2.0, 3.0]]), tf.constant(noise))
    np.testing.assert_allclose(actions, [[-1 / (5 - 2 / 3)]], rtol=1e-5)


def test_mode_is_the_largest_density_and_the_middle_if_all_are_equal():
    beta, grid = make_beta(1), np.linspace(-0.999, 0.999, 1999)
    for a, b in [(2.0, 3.0), (1.5, 9.0), (1.0, 2.0), (4.0, 1.0)]:
        mode = beta.mode(tf.constant([[a, b]])).numpy()[0, 0]
        assert abs(mode - grid[np.argmax(stats.beta(a, b, loc=-1, scale=2).pdf(grid))]) < 1.1e-3
    np.testing.assert_array_equal(beta.mode(tf.constant([[1.0, 1.0]])), [[0.0]])


@pytest.mark.parametrize("outputs", [(-1e4, -1e4), (1e6, 1e6), (-1e4, 1e6), (1e6, -1e4), (0.0, 1e3)])
def test_everything_is_finite_at_extremes(outputs):
    beta = make_beta(1)
    outputs = tf.constant([outputs] * 6, tf.float32)
    noise = beta.noise([6], tf.constant([0, 1]))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(outputs)
        parameters = tf.cast(beta.parameters(outputs), tf.float64)
        sampled = beta.sample(beta.parameters(outputs), noise)
        others = tf.constant([[2.0, 3.0]] * 6, tf.float64)
        values = [beta.log_prob(parameters, tf.cast(sampled, tf.float64)), beta.entropy(parameters)]
        values += [beta.log_prob(parameters, tf.constant([[bound]] * 6, tf.float64)) for bound in (-1.0, 1.0)]
        values += [beta.kl(parameters, others), beta.kl(others, parameters), beta.figures(parameters)["std"]]
    for value in [*values, sampled, beta.mode(parameters), beta.metric_product(parameters, others)]:
        assert np.isfinite(value).all()
    for value in values:
        assert np.isfinite(tape.gradient(value, outputs)).all()


def test_std_is_that_of_the_actions():
    parameters = random_parameters()
    expected = stats.beta(*halves(parameters), loc=-1, scale=2).std().mean(axis=1)
    np.testing.assert_allclose(make_beta().figures(tf.constant(parameters))["std"], expected, rtol=1e-9)


def test_the_mirror_of_an_action_exchanges_its_concentrations():
    """The density of the mirrored action under mirrored outputs is that of the action."""
    beta = Beta([-1.0, -1.0, -2.0], [1.0, 1.0, 2.0])
    actions = Reflection((1, 0, 2), (1, 1, -1))
    outputs = tf.constant(np.random.default_rng(0).normal(size=(5, 6)))
    given = tf.constant(np.random.default_rng(1).uniform(-1, 1, (5, 3)))
    image = beta.log_prob(beta.parameters(beta.mirrored(actions)(outputs)), actions(given))
    np.testing.assert_allclose(image, beta.log_prob(beta.parameters(outputs), given), rtol=1e-12)


@pytest.mark.parametrize("high", [np.inf, np.finfo(np.float32).max])
def test_a_side_without_a_bound_is_refused(high):
    with pytest.raises(ValueError, match="needs two bounds, and action 1 has not: use a Gaussian"):
        Beta([0.0, 0.0], [1.0, high])

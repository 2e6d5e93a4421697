"""The likelihood of clipped actions: its closed form, and its effect on gradient and KL."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import integrate, stats

from tf_trpo.distributions import Gaussian
from tf_trpo.estimation import Batch
from tf_trpo.models import Encoder, Policy
from tf_trpo.optimizers.objective import Objective

LOW, HIGH = np.array([-1.0, -1.0]), np.array([1.0, 1.0])
"""In the distribution's coordinates."""


def make_gaussian(open_side=False, **settings):
    """A Gaussian whose first action lies in [5, 7] or [-1, inf), and whose second one lies in [-2, 0.5]."""
    bounds = ([-1.0, -2.0], [np.inf, 0.5]) if open_side else ([5.0, -2.0], [7.0, 0.5])
    return Gaussian(*bounds, **{"clipped_likelihood": True, **settings})


def random_parameters(rows, seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate([2.0 * rng.normal(size=(rows, 2)), 0.5 * rng.normal(size=(rows, 2))], axis=1)


def closed_form(parameters, actions, low=LOW, high=HIGH):
    mean, log_std = np.split(parameters, 2, axis=-1)
    normal = stats.norm(mean, np.exp(log_std))
    beyond = np.where(actions <= low, normal.logcdf(low), normal.logsf(high))
    return np.where((actions <= low) | (actions >= high), beyond, normal.logpdf(actions)).sum(axis=-1)


def test_an_action_exactly_at_a_bound_has_the_probability_of_all_actions_beyond():
    parameters = tf.constant([[2.0, -2.0, 0.0, 0.5], [0.3, 0.8, -0.5, 0.1]])
    gaussian = make_gaussian()
    for environment in (np.float32([[7.0, -2.0], [5.0, 0.5]]), np.float32([[6.0, 0.5], [7.0, 0.1]])):
        actions = gaussian.from_environment(environment)
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            log_prob = gaussian.log_prob(parameters, tf.constant(actions))
        np.testing.assert_allclose(log_prob, closed_form(parameters.numpy(), actions), rtol=1e-5)
        mean = tape.gradient(log_prob, parameters).numpy()[:, :2]
        # At an upper bound, a larger mean is always more likely; at a lower bound, a smaller one.
        assert (mean[actions == 1] > 0).all()
        assert (mean[actions == -1] < 0).all()


@pytest.mark.parametrize("open_side", [False, True])
def test_it_is_the_probability_of_what_lies_beyond_a_bound_and_the_density_inside(open_side):
    parameters, actions = random_parameters(500), 3.0 * np.random.default_rng(5).normal(size=(500, 2))
    high = np.array([np.inf, 1.0]) if open_side else HIGH
    assert 0.2 < ((actions < LOW) | (actions > high)).mean() < 0.8
    log_prob = make_gaussian(open_side).log_prob(tf.constant(parameters), tf.constant(actions))
    np.testing.assert_allclose(log_prob, closed_form(parameters, actions, high=high), rtol=1e-9, atol=1e-12)


def test_the_policy_gradient_is_the_same_in_expectation_and_has_less_variance():
    """The return depends on the clipped action only, and many actions exceed the bounds."""
    count = 100_000
    parameters = tf.constant(np.tile([0.8, -1.4, 0.3, 0.48], [count, 1]))
    noise = np.random.default_rng(1).normal(size=(count, 2))
    actions = make_gaussian().sample(parameters, tf.constant(noise))
    seen = np.clip(actions, LOW, HIGH) * [1.0, 1.25] - [0.0, 0.75]
    returns = tf.constant(seen[:, 0] * (1 + seen[:, 1]) + seen[:, 1] ** 2)

    def gradients(gaussian):
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            total = tf.reduce_sum(returns * gaussian.log_prob(parameters, actions))
        return tape.gradient(total, parameters).numpy()

    clipped, sampled = (gradients(make_gaussian(clipped_likelihood=clipped)) for clipped in (True, False))
    difference = clipped - sampled
    assert np.abs(clipped.mean(axis=0)).min() > 0.01
    assert (np.abs(difference.mean(axis=0)) < 4 * difference.std(axis=0) / np.sqrt(count)).all()
    assert (clipped.var(axis=0) < sampled.var(axis=0)).all()
    # For the second action dimension, whose mean is beyond its bound.
    assert (clipped.var(axis=0)[[1, 3]] < 0.5 * sampled.var(axis=0)[[1, 3]]).all()


def test_its_kl_is_not_larger_than_the_gaussians():
    gaussian, noise = make_gaussian(), np.linspace(-9.0, 9.0, 401)
    grid = np.stack(np.meshgrid(noise, noise, indexing="ij"), axis=-1).reshape(-1, 2)
    mass = np.exp(stats.norm.logpdf(grid).sum(axis=-1)) * (noise[1] - noise[0]) ** 2
    for old, new in zip(random_parameters(3, seed=2), random_parameters(3, seed=3), strict=True):
        before, after = (tf.constant(np.tile(parameters, [len(grid), 1])) for parameters in (old, new))
        actions = gaussian.sample(before, tf.constant(grid))
        summed = np.sum(mass * (gaussian.log_prob(before, actions) - gaussian.log_prob(after, actions)).numpy())
        clipped = 0.0
        for dimension, (low, high) in enumerate(zip(LOW, HIGH, strict=True)):
            p, q = (stats.norm(of[dimension], np.exp(of[2 + dimension])) for of in (old, new))
            clipped += p.cdf(low) * (p.logcdf(low) - q.logcdf(low)) + p.sf(high) * (p.logsf(high) - q.logsf(high))
            inside = integrate.quad(lambda a, p=p, q=q: p.pdf(a) * (p.logpdf(a) - q.logpdf(a)), low, high, limit=200)
            clipped += inside[0]
        sampled = gaussian.kl(tf.constant([old]), tf.constant([new])).numpy()[0]
        assert -1e-9 < clipped <= sampled + 1e-9
        # The integrand has a step at each bound, which the sum takes at the grid's next points.
        assert abs(summed - clipped) < 0.01 * (1 + clipped)
        assert -1e-3 * (1 + sampled) < summed < sampled + 1e-3 * (1 + sampled)
        assert summed < 0.9999 * sampled


@pytest.mark.parametrize("open_side", [False, True])
def test_the_gradient_is_finite_however_far_the_mean_is_beyond_a_bound(open_side):
    means = np.repeat([-1e6, -50.0, 0.0, 50.0, 1e6], 3)
    actions = tf.constant(np.stack([means * np.tile([1, -1, 0], 5)] * 2, axis=1))
    parameters = tf.constant(np.stack([means, means, means * 0 - 3, means * 0 - 3], axis=1))
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        log_prob = make_gaussian(open_side).log_prob(parameters, actions)
    assert np.isfinite(log_prob).all()
    assert np.isfinite(tape.gradient(log_prob, parameters)).all()


def test_the_surrogate_of_an_update_uses_it():
    rng, rows = np.random.default_rng(0), 60
    policy = Policy(Encoder((3,), 2, seed=0), make_gaussian(initial_std=1.5))
    observations = tf.constant(rng.normal(size=(rows, 3)), tf.float32)
    actions, advantages = 2.0 * rng.normal(size=(rows, 2)).astype(np.float32), rng.normal(size=rows)
    weights = tf.fill([rows], 1 / rows)
    zero, one = tf.constant(0.0), tf.constant(1.0)
    batch = Batch(observations, tf.constant(actions), tf.constant(advantages, tf.float32), weights, zero, one)
    theta = policy.flat_weights
    objective = Objective(policy, batch, theta)
    moved = theta + 0.1 * tf.constant(rng.normal(size=theta.shape), tf.float32)
    old, new = (policy.parameters_at(at, observations).numpy().astype(np.float64) for at in (theta, moved))
    ratios = np.exp(closed_form(new, actions) - closed_form(old, actions))
    expected = np.mean((ratios - 1) * advantages.astype(np.float32))
    np.testing.assert_allclose(objective.figures(moved).improvement, expected, rtol=1e-5)

"""The Fisher matrix of real policies, in float64: its product, its definition and its closed forms."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.distributions import Categorical, Gaussian
from tf_trpo.distributions.action_distribution import ActionDistribution
from tf_trpo.models import Encoder, Policy, mlp
from tf_trpo.numerics import (
    double_backprop_fisher_vector_product,
    gauss_newton_fisher_vector_product,
    hessian_product_at_minimum,
)

NUM_SAMPLES = 12
KINDS = ["categorical", "fixed std", "state-dependent std"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_closed_form_of_the_metric_is_the_hessian_of_the_kl(kind):
    policy = make_policy(kind)
    size = policy.distribution_parameters(tf.zeros([1, 3])).shape[1]
    parameters, vectors = tf.constant(normals(NUM_SAMPLES, size)), tf.constant(normals(NUM_SAMPLES, size, seed=1))
    distribution = policy.action_distribution
    expected = hessian_product_at_minimum(distribution.kl, parameters, vectors)
    np.testing.assert_allclose(distribution.metric_product(parameters, vectors), expected, rtol=1e-10, atol=1e-12)
    by_default = ActionDistribution.metric_product(distribution, parameters, vectors)
    np.testing.assert_allclose(by_default, expected, rtol=1e-12)


@pytest.fixture(autouse=True, scope="module")
def double_precision():
    usual, usual_policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx(usual)
    keras.config.set_dtype_policy(usual_policy)


def normals(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def make_policy(kind, hidden_sizes=(4,)):
    # A gain of 1 takes the policy away from its start, where the Fisher matrix has a simpler form.
    if kind == "categorical":
        distribution = Categorical(3)
    else:
        state_dependent = kind == "state-dependent std"
        distribution = Gaussian([-1.0] * 2, [1.0] * 2, state_dependent_std=state_dependent, initial_std=0.6)
    network = mlp((3,), hidden_sizes, seed=1)
    return Policy(Encoder((3,), distribution.num_outputs, network=network, output_gain=1.0, seed=2), distribution)


def linear(distribution):
    network, outputs = mlp((3,), ()), distribution.num_outputs
    encoder = Encoder((3,), outputs, network=network, normalize_observations=False, output_gain=1.0, seed=0)
    return Policy(encoder, distribution)


def sample_weights():
    """A mean over the valid samples: two are padding."""
    valid = np.ones(NUM_SAMPLES)
    valid[[3, 8]] = 0
    return tf.constant(valid / valid.sum())


class Problem:
    def __init__(self, policy, observations=None):
        self.policy = policy
        self.observations = tf.constant(normals(NUM_SAMPLES, 3) if observations is None else observations)
        self.theta = policy.flat_weights
        self.weights = sample_weights()

    def parameters(self, theta):
        return self.policy.parameters_at(theta, self.observations)

    def dense(self, make_product):
        """F, a column for each unit vector."""

        @tf.function(autograph=False)
        def product(theta, vector):
            return make_product(self.parameters, self.policy.action_distribution.kl, theta, self.weights)(vector)

        columns = [product(self.theta, unit).numpy() for unit in tf.eye(self.theta.shape[0], dtype=tf.float64)]
        return np.stack(columns, axis=1)

    def hessian(self):
        """The definition: second derivatives of the mean joint KL(old || .) at the old weights, by nested tapes."""
        old = self.parameters(self.theta)
        with tf.GradientTape() as outer:
            outer.watch(self.theta)
            with tf.GradientTape() as inner:
                inner.watch(self.theta)
                kl = self.policy.action_distribution.kl(old, self.parameters(self.theta))
                mean_kl = tf.tensordot(self.weights, kl, 1)
            gradient = inner.gradient(mean_kl, self.theta)
        np.testing.assert_allclose(gradient, np.zeros(gradient.shape), atol=1e-14)
        return outer.jacobian(gradient, self.theta).numpy()


@pytest.fixture(scope="module", params=["fixed std", "state-dependent std", "categorical"])
def problem(request, double_precision):
    return Problem(make_policy(request.param))


@pytest.fixture(scope="module")
def gauss_newton(problem):
    return problem.dense(gauss_newton_fisher_vector_product)


def test_gauss_newton_is_the_hessian_of_the_mean_kl(problem, gauss_newton):
    hessian = problem.hessian()
    assert np.abs(hessian).max() > 0.1
    np.testing.assert_allclose(gauss_newton, hessian, rtol=1e-9, atol=1e-12)


def test_double_backprop_is_gauss_newton(problem, gauss_newton):
    twin = problem.dense(double_backprop_fisher_vector_product)
    np.testing.assert_allclose(twin, gauss_newton, rtol=1e-9, atol=1e-12)


def test_fisher_matrix_is_symmetric_and_positive_semi_definite(gauss_newton):
    np.testing.assert_allclose(gauss_newton, gauss_newton.T, rtol=1e-9, atol=1e-13)
    assert np.linalg.eigvalsh((gauss_newton + gauss_newton.T) / 2).min() > -1e-12


def test_fisher_matrix_is_the_quadratic_model_of_the_kl(problem, gauss_newton):
    vector = normals(problem.theta.shape[0], seed=5)
    old = problem.parameters(problem.theta)
    for scale in (1e-3, 1e-4):
        new = problem.parameters(problem.theta + scale * vector)
        kl = np.dot(problem.weights, problem.policy.action_distribution.kl(old, new))
        assert kl == pytest.approx(0.5 * scale**2 * vector @ gauss_newton @ vector, rel=100 * scale)


def test_fisher_matrix_is_the_covariance_of_the_score(problem, gauss_newton):
    """F = E[grad log pi grad log pi'] over sampled actions: the definition without any KL."""
    policy, repeats = problem.policy, 20_000
    with tf.GradientTape() as tape:
        tape.watch(problem.theta)
        parameters = problem.parameters(problem.theta)
    jacobians = tape.jacobian(parameters, problem.theta).numpy()
    many = tf.repeat(parameters, repeats, axis=0)
    noise = tf.cast(policy.action_distribution.noise([NUM_SAMPLES * repeats], tf.constant([1, 2])), tf.float64)
    actions = policy.action_distribution.sample(many, noise)
    with tf.GradientTape() as tape:
        tape.watch(many)
        distribution = policy.action_distribution.distribution(many)
        log_prob = distribution.log_prob(tf.cast(actions, distribution.dtype))
    scores = tape.gradient(log_prob, many).numpy().reshape(NUM_SAMPLES, repeats, -1)
    covariances = np.einsum("nri,nrj->nij", scores, scores) / repeats
    estimate = np.einsum("n,nip,nij,njq->pq", problem.weights, jacobians, covariances, jacobians)
    assert np.linalg.norm(estimate - gauss_newton) < 0.03 * np.linalg.norm(gauss_newton)


def test_linear_gaussian_has_the_fisher_matrix_of_least_squares():
    policy = linear(Gaussian([-1.0], [1.0]))
    policy.action_distribution.log_std.assign([-0.7])
    problem = Problem(policy)
    fisher = problem.dense(gauss_newton_fisher_vector_product)
    inputs = np.concatenate([problem.observations, np.ones([NUM_SAMPLES, 1])], axis=1)
    weights = problem.weights.numpy()
    names = [variable.path.rsplit("/")[-1] for variable in policy.trainable_variables]
    assert names == ["log_std", "kernel", "bias"]
    expected = np.zeros([5, 5])
    expected[0, 0] = 2.0
    expected[1:, 1:] = inputs.T @ (weights[:, None] * inputs) / np.exp(2 * -0.7)
    np.testing.assert_allclose(fisher, expected, atol=1e-12)


def test_linear_softmax_has_the_fisher_matrix_of_multinomial_regression():
    policy = linear(Categorical(3))
    problem = Problem(policy)
    fisher = problem.dense(gauss_newton_fisher_vector_product)
    inputs = np.concatenate([problem.observations, np.ones([NUM_SAMPLES, 1])], axis=1)
    logits = problem.parameters(problem.theta).numpy()
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = np.zeros([12, 12])
    for weight, x, p in zip(problem.weights.numpy(), inputs, probabilities, strict=True):
        expected += weight * np.kron(np.outer(x, x), np.diag(p) - np.outer(p, p))
    np.testing.assert_allclose(fisher, expected, atol=1e-12)


def test_log_std_has_curvature_two_for_each_dimension_whatever_the_network():
    policy = make_policy("fixed std")
    fisher = Problem(policy).dense(gauss_newton_fisher_vector_product)
    assert policy.trainable_variables[0] is policy.action_distribution.log_std
    np.testing.assert_allclose(fisher[:2, :2], 2 * np.eye(2), atol=1e-12)
    np.testing.assert_allclose(fisher[:2, 2:], np.zeros_like(fisher[:2, 2:]), atol=1e-12)


def test_two_equal_action_dimensions_have_twice_the_kl_of_one():
    """Joint over the action dimensions: not a mean."""
    one, two = Gaussian([-1.0], [1.0]), Gaussian([-1.0] * 2, [1.0] * 2)
    old, new = tf.constant([[0.2, -0.5]], tf.float64), tf.constant([[-0.1, 0.1]], tf.float64)
    doubled_old, doubled_new = tf.repeat(old, 2, axis=1), tf.repeat(new, 2, axis=1)
    np.testing.assert_allclose(two.kl(doubled_old, doubled_new), 2 * one.kl(old, new), rtol=1e-12)

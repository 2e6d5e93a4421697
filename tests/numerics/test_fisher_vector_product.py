"""Fisher-vector products against the dense Hessian of the mean KL and against closed forms."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tf_trpo.numerics import (
    double_backprop_fisher_vector_product,
    gauss_newton_fisher_vector_product,
)

PRODUCTS = [gauss_newton_fisher_vector_product, double_backprop_fisher_vector_product]
WEIGHTS = np.array([0.25, 0.0, 0.25, 0.25, 0.0, 0.25])
ACTIONS = 2
HIDDEN = 3
OBSERVATIONS = np.random.default_rng(5).normal(size=(len(WEIGHTS), 2))


def gaussian_kl(p, q):
    """KL of diagonal Gaussians given as [mean, log_std], summed over dimensions."""
    p_mean, p_log_std = tf.split(p, 2, axis=-1)
    q_mean, q_log_std = tf.split(q, 2, axis=-1)
    spread = (tf.exp(2 * p_log_std) + tf.square(p_mean - q_mean)) / (2 * tf.exp(2 * q_log_std))
    return tf.reduce_sum(q_log_std - p_log_std + spread - 0.5, axis=-1)


def categorical_kl(p, q):
    log_p, log_q = tf.nn.log_softmax(p), tf.nn.log_softmax(q)
    return tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), axis=-1)


def network(theta, observations, outputs):
    """A tanh layer and a linear layer; returns the outputs and the unused parameters."""
    sizes = [2 * HIDDEN, HIDDEN, HIDDEN * outputs, outputs]
    first, first_bias, second, second_bias, rest = tf.split(theta, [*sizes, theta.shape[0] - sum(sizes)])
    hidden = tf.tanh(observations @ tf.reshape(first, [2, HIDDEN]) + first_bias)
    return hidden @ tf.reshape(second, [HIDDEN, outputs]) + second_bias, rest


def gaussian_policy(observations):
    def parameters(theta):
        mean, log_std = network(theta, observations, ACTIONS)
        return tf.concat([mean, tf.broadcast_to(log_std, mean.shape)], axis=-1)

    return parameters


def categorical_policy(observations):
    return lambda theta: network(theta, observations, 3)[0]


FAMILIES = {"gaussian": (gaussian_policy, gaussian_kl, 19), "categorical": (categorical_policy, categorical_kl, 21)}


def dense_hessian(parameters, divergence, theta):
    """Hessian of the mean KL, by nested tapes, row by row."""
    old = tf.stop_gradient(parameters(theta))
    with tf.GradientTape(persistent=True) as outer:
        outer.watch(theta)
        with tf.GradientTape() as inner:
            inner.watch(theta)
            mean_kl = tf.reduce_sum(WEIGHTS * divergence(old, parameters(theta)))
        gradient = inner.gradient(mean_kl, theta)
    return outer.jacobian(gradient, theta, experimental_use_pfor=False).numpy()


def dense(product, size):
    return np.stack([product(tf.constant(row)).numpy() for row in np.eye(size)])


@functools.cache
def traced(fisher_vector_product, family):
    """(theta, vector, observations) -> F(theta) vector, as a graph."""
    policy, divergence, _ = FAMILIES[family]

    @tf.function
    def product(theta, vector, observations):
        return fisher_vector_product(policy(observations), divergence, theta, tf.constant(WEIGHTS))(vector)

    return product


@pytest.mark.parametrize("family", FAMILIES)
def test_products_with_all_unit_vectors_are_the_dense_hessian(family):
    policy, divergence, size = FAMILIES[family]
    theta, rows = tf.constant(np.random.default_rng(0).normal(size=size)), tf.constant(OBSERVATIONS)
    hessian = dense_hessian(policy(rows), divergence, theta)
    assert np.linalg.norm(hessian) > 0.1
    assert np.linalg.eigvalsh(hessian).min() > -1e-12
    for product in PRODUCTS:
        matrix = dense(lambda vector, product=product: traced(product, family)(theta, vector, rows), size)
        np.testing.assert_allclose(matrix, hessian, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
@given(seed=st.integers(0, 10_000))
def test_both_products_are_equal_and_garbage_in_padding_changes_nothing(family, seed):
    theta, vector = (tf.constant(row) for row in np.random.default_rng(seed).normal(size=(2, FAMILIES[family][2])))
    garbage = np.where(WEIGHTS[:, None] > 0, OBSERVATIONS, [[1e4, -1e4]])
    (clean, dirty), others = (
        [traced(product, family)(theta, vector, tf.constant(rows)) for rows in (OBSERVATIONS, garbage)]
        for product in PRODUCTS
    )
    np.testing.assert_allclose(dirty, clean, rtol=1e-13, atol=1e-15)
    for other in others:
        np.testing.assert_allclose(clean, other, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("fisher_vector_product", PRODUCTS)
def test_linear_gaussian_policy_has_its_closed_form(fisher_vector_product):
    # Mean x'W with std sigma: E[x x'] / sigma_j^2 for column j of W, and 2 for each log_std.
    generator = np.random.default_rng(2)
    observations = generator.normal(size=(len(WEIGHTS), 3))
    log_std = np.array([-0.5, 0.3])
    theta = tf.constant(np.concatenate([generator.normal(size=6), log_std]))

    def parameters(theta):
        mean = tf.constant(observations) @ tf.reshape(theta[:6], [3, 2])
        return tf.concat([mean, tf.broadcast_to(theta[6:], mean.shape)], axis=-1)

    expected = np.zeros((8, 8))
    second_moment = np.einsum("n,ni,nj->ij", WEIGHTS, observations, observations)
    expected[:6, :6] = np.kron(second_moment, np.diag(np.exp(-2 * log_std)))
    expected[6:, 6:] = 2 * np.eye(2)
    product = fisher_vector_product(parameters, gaussian_kl, theta, tf.constant(WEIGHTS))
    np.testing.assert_allclose(dense(product, 8), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("fisher_vector_product", PRODUCTS)
def test_a_parameter_without_effect_has_no_curvature(fisher_vector_product):
    theta = tf.constant([0.5, 1.0], tf.float64)
    product = fisher_vector_product(
        lambda theta: tf.stack([[theta[0], 0.0]]), gaussian_kl, theta, tf.ones([1], tf.float64)
    )
    np.testing.assert_allclose(product(tf.constant([3.0, 7.0], tf.float64)), [3.0, 0.0])


@pytest.mark.parametrize("fisher_vector_product", PRODUCTS)
def test_compiled_by_xla_and_eagerly_it_agrees(fisher_vector_product):
    theta, vector = (tf.constant(row) for row in np.random.default_rng(4).normal(size=(2, 19)))
    product = fisher_vector_product(gaussian_policy(OBSERVATIONS), gaussian_kl, theta, tf.constant(WEIGHTS))
    expected = traced(fisher_vector_product, "gaussian")(theta, vector, tf.constant(OBSERVATIONS))
    np.testing.assert_allclose(product(vector), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(tf.function(product, jit_compile=True)(vector), expected, rtol=1e-9, atol=1e-12)


def recurrent_policy(scan):
    """Three steps of two units; the last state is a Gaussian's mean and log_std."""

    def parameters(theta):
        inputs = tf.constant(np.random.default_rng(6).normal(size=(3, len(WEIGHTS), 2)))
        kernel, recurrent = tf.reshape(theta[:4], [2, 2]), tf.reshape(theta[4:], [2, 2])
        return scan(lambda state, x: tf.tanh(x @ kernel + state @ recurrent), inputs, tf.zeros_like(inputs[0]))

    return parameters


def test_the_product_supports_loops():
    theta, vector = (tf.constant(row) for row in np.random.default_rng(7).normal(size=(2, 8)))
    looped, unrolled = (
        tf.function(gauss_newton_fisher_vector_product(policy, gaussian_kl, theta, tf.constant(WEIGHTS)))(vector)
        for policy in (
            recurrent_policy(lambda *arguments: tf.scan(*arguments)[-1]),
            recurrent_policy(lambda step, inputs, state: functools.reduce(step, tf.unstack(inputs), state)),
        )
    )
    np.testing.assert_allclose(looped, unrolled, rtol=1e-9, atol=1e-12)


def shapes_of(graph):
    """Shapes of all tensors in a traced function and in the functions that it calls."""
    inner = [function.graph for function in graph._functions.values() if hasattr(function, "graph")]
    own = [tensor.shape for each in graph.get_operations() for tensor in each.outputs if tensor.dtype.is_floating]
    return sum(map(shapes_of, inner), own)


def test_the_operations_do_not_depend_on_what_was_traced_before():
    """With TensorFlow's forward mode they would: results would depend on the history of the process."""

    def traced(rows):
        observations = tf.constant(np.resize(OBSERVATIONS, (rows, 2)))
        weights = tf.constant(np.full(rows, 1 / rows))
        theta = tf.constant(np.linspace(-1.0, 1.0, 19))
        product = gauss_newton_fisher_vector_product(gaussian_policy(observations), gaussian_kl, theta, weights)
        return tf.function(product).get_concrete_function(theta)

    first = traced(6)
    for rows in range(7, 42):
        traced(rows)
    last = traced(6)
    assert all(shape.is_fully_defined() for shape in shapes_of(last.graph))
    vector = tf.constant(np.linspace(0.0, 1.0, 19))
    np.testing.assert_array_equal(first(vector), last(vector))

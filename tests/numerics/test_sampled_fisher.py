"""The damped inverse of a sampled Fisher matrix against dense matrices."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_trpo.numerics import OuterProducts, sampled_fisher_inverse
from tf_trpo.numerics.sampled_fisher import positive_definite_inverse

SIZES = st.integers(1, 4)


def outer_products(rng, uses, columns, samples, inputs, outputs):
    return OuterProducts(
        tf.constant(rng.normal(size=(uses, samples, inputs))),
        tf.constant(rng.normal(size=(uses, columns, samples, outputs))),
    )


def dense_jacobian(factor):
    """The Jacobian row by row, by its definition."""
    inputs, gradients = (array.numpy() for array in factor)
    uses, columns, samples, _ = gradients.shape
    return np.array(
        [
            sum(np.kron(inputs[k, n], gradients[k, c, n]) for k in range(uses))
            for c in range(columns)
            for n in range(samples)
        ]
    )


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), columns=SIZES, samples=SIZES, uses=SIZES, sizes=st.tuples(SIZES, SIZES, SIZES))
def test_the_product_is_that_of_the_inverse_of_the_dense_matrix(seed, columns, samples, uses, sizes):
    rng = np.random.default_rng(seed)
    one, two, three = sizes
    bias = outer_products(rng, uses, columns, samples, 1, two)
    factors = [
        outer_products(rng, uses, columns, samples, one, two),
        bias._replace(inputs=tf.ones_like(bias.inputs)),
        tf.constant(2.5, tf.float64),
        outer_products(rng, 1, columns, samples, two, three),
    ]
    like = [tf.zeros([one, two]), tf.zeros([two]), tf.zeros([three, 2]), tf.zeros([two, three])]
    first, second, last = (dense_jacobian(factors[place]) for place in (0, 1, 3))
    jacobian = np.hstack([first, second, np.zeros((columns * samples, 2 * three)), last])
    curvature = np.concatenate([np.zeros(one * two + two), np.full(2 * three, 2.5), np.zeros(two * three)])
    vector = rng.normal(size=len(curvature))
    expected = np.linalg.solve(jacobian.T @ jacobian + np.diag(curvature + 0.3), vector)
    product = sampled_fisher_inverse(like, factors, 0.3)
    np.testing.assert_allclose(product(tf.constant(vector)), expected, rtol=1e-8, atol=1e-10)


def test_parameters_without_a_part_of_the_jacobian_are_divided():
    product = sampled_fisher_inverse([tf.zeros([2]), tf.zeros([1])], [tf.constant(3.0), tf.constant(0.0)], 0.5)
    np.testing.assert_allclose(product(tf.constant([7.0, 3.5, 1.0])), [2.0, 1.0, 2.0])


@pytest.mark.parametrize(("size", "jit_compile"), [(1, False), (64, False), (130, False), (65, True)])
def test_a_positive_definite_matrix_is_inverted(size, jit_compile):
    rows = np.random.default_rng(size).normal(size=(size, size + 2))
    matrix = rows @ rows.T / size + 0.1 * np.eye(size)
    inverse = tf.function(positive_definite_inverse, jit_compile=jit_compile)(tf.constant(matrix, tf.float32))
    expected = np.linalg.inv(matrix)
    np.testing.assert_allclose(inverse, expected, atol=1e-5 * np.abs(expected).max())


def test_small_elements_of_the_inverse_are_accurate():
    inverse = positive_definite_inverse(tf.constant([[1e6, 0.0], [0.0, 1e-3]]))
    np.testing.assert_allclose(inverse, [[1e-6, 0.0], [0.0, 1e3]], rtol=1e-6)


def test_a_damping_of_zero_and_wrong_shapes_are_refused():
    factor = outer_products(np.random.default_rng(0), 1, 2, 3, 4, 5)
    with pytest.raises(ValueError, match="damping must be positive, got 0"):
        sampled_fisher_inverse([tf.zeros([4, 5])], [factor], 0.0)
    with pytest.raises(ValueError, match="inputs must have the shape"):
        sampled_fisher_inverse([tf.zeros([4, 5])], [factor._replace(inputs=factor.inputs[:, :2])], 0.1)

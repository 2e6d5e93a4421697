"""Conjugate gradient against dense linear algebra, and every status with which it can end."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tf_trpo.numerics import ConjugateGradientStatus, conjugate_gradient

SEEDS = st.integers(0, 10_000)


def symmetric_matrix(seed, eigenvalues):
    generator = np.random.default_rng(seed)
    size = len(eigenvalues)
    basis, _ = np.linalg.qr(generator.normal(size=(size, size)))
    matrix = basis @ np.diag(eigenvalues) @ basis.T
    return (matrix + matrix.T) / 2, generator.normal(size=size)


def definite_system(seed, size):
    return symmetric_matrix(seed, np.random.default_rng(seed + 1).uniform(0.5, 20.0, size))


def times(matrix):
    matrix = tf.constant(matrix)
    return lambda vector: tf.linalg.matvec(matrix, vector)


def solve(matrix, b, **kwargs):
    return conjugate_gradient(times(matrix), tf.constant(b), **kwargs)


def product_failing_at_call(number, matrix, failure):
    """A product that is right before call `number`, and has `failure` in one component from then on."""
    calls = []

    def product(vector):
        calls.append(vector)
        image = matrix @ vector.numpy()
        if len(calls) >= number:
            image[-1] = failure
        return tf.constant(image)

    return product


def krylov_minimiser(matrix, b, dimensions):
    """Minimiser of 1/2 x'Ax - b'x over span{b, Ab, .., A^(k-1) b}, by a dense solve."""
    basis = b[:, None]
    for _ in range(dimensions - 1):
        basis, _ = np.linalg.qr(np.column_stack([basis, matrix @ basis[:, -1]]))
    return basis @ np.linalg.solve(basis.T @ matrix @ basis, basis.T @ b)


@pytest.mark.parametrize("ratio", [1.0, 1e-6])
def test_the_image_is_accurate_if_damping_outweighs_the_matrix(ratio):
    """The difference of (A + damping I) x and damping x would lose all precision in float32."""
    matrix, b = definite_system(3, 12)
    result = conjugate_gradient(
        times(np.float32(ratio * matrix)), tf.constant(b, tf.float32), max_iterations=12, damping=1.0
    )
    exact = ratio * matrix @ np.float64(result.solution)
    assert np.linalg.norm(result.image - exact) <= 2e-6 * np.linalg.norm(exact)


@given(seed=SEEDS, distinct=st.integers(1, 5))
def test_as_many_iterations_as_distinct_eigenvalues(seed, distinct):
    matrix, b = symmetric_matrix(seed, np.resize(np.arange(1.0, distinct + 1), 15))
    result = solve(matrix, b, max_iterations=15, tolerance=1e-9)
    assert result.status == ConjugateGradientStatus.CONVERGED
    assert result.iterations == distinct


@given(seed=SEEDS, size=st.integers(4, 10), iterations=st.integers(1, 3))
def test_every_iterate_is_the_best_of_its_krylov_space(seed, size, iterations):
    matrix, b = definite_system(seed, size)
    result = solve(matrix, b, max_iterations=iterations)
    assert result.status == ConjugateGradientStatus.MAX_ITERATIONS
    assert result.iterations == iterations
    np.testing.assert_allclose(result.solution, krylov_minimiser(matrix, b, iterations), rtol=1e-8, atol=1e-9)


@given(seed=SEEDS, size=st.integers(1, 12), iterations=st.integers(1, 40))
def test_the_solution_is_that_of_a_dense_solver_and_the_residual_norm_is_right(seed, size, iterations):
    matrix, b = definite_system(seed, size)
    result = solve(matrix, b, max_iterations=iterations, tolerance=1e-9)
    residual = np.linalg.norm(b - matrix @ result.solution.numpy())
    np.testing.assert_allclose(result.residual_norm, residual, rtol=1e-6, atol=1e-12)
    assert b @ result.solution.numpy() > 0
    converged = result.residual_norm.numpy() <= 1e-9 * np.linalg.norm(b)
    assert result.status == (ConjugateGradientStatus.CONVERGED if converged else ConjugateGradientStatus.MAX_ITERATIONS)
    if converged:
        np.testing.assert_allclose(result.solution, np.linalg.solve(matrix, b), rtol=1e-6, atol=1e-8)
    assert converged or iterations < 3 * size


def test_consistent_semi_definite_system_is_solved():
    matrix, b = symmetric_matrix(3, [0.0, 0.0, 1.0, 2.0, 5.0])
    b = matrix @ b
    result = solve(matrix, b, max_iterations=10, tolerance=1e-9)
    assert result.status == ConjugateGradientStatus.CONVERGED
    np.testing.assert_allclose(result.solution, np.linalg.pinv(matrix) @ b, rtol=1e-7)


@given(seed=SEEDS, positive=st.integers(0, 5), negative=st.integers(1, 3))
def test_indefinite_matrix_ends_at_the_last_good_iterate(seed, positive, negative):
    eigenvalues = np.random.default_rng(seed).uniform(0.5, 5.0, positive + negative)
    eigenvalues[:negative] *= -1
    matrix, b = symmetric_matrix(seed, eigenvalues)
    result = solve(matrix, b, max_iterations=100)
    assert result.status == ConjugateGradientStatus.NON_POSITIVE_CURVATURE
    good = int(result.iterations)
    expected = solve(matrix, b, max_iterations=good).solution if good else tf.zeros_like(b)
    np.testing.assert_array_equal(result.solution, expected)
    np.testing.assert_allclose(result.residual_norm, np.linalg.norm(b - matrix @ result.solution.numpy()), rtol=1e-6)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_multiples_of_the_identity(jit_compile):
    @tf.function(jit_compile=jit_compile)
    def run(b, factor):
        return conjugate_gradient(lambda vector: factor * vector, b, max_iterations=5)

    outcomes = {
        2.0: (ConjugateGradientStatus.CONVERGED, 1, [1.5, -2.0]),
        0.0: (ConjugateGradientStatus.NON_POSITIVE_CURVATURE, 0, [0.0, 0.0]),
        **dict.fromkeys((np.nan, np.inf, -np.inf), (ConjugateGradientStatus.BREAKDOWN, 0, [0.0, 0.0])),
    }
    for factor, (status, iterations, solution) in outcomes.items():
        result = run(tf.constant([3.0, -4.0]), tf.constant(factor, tf.float32))
        assert (result.status, result.iterations) == (status, iterations)
        assert result.residual_norm == 5.0 * (iterations == 0)
        np.testing.assert_array_equal(result.solution, solution)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_solution_scales_with_the_right_hand_side(jit_compile):
    """In float32, the squares of the smaller ones underflow, and those of the larger ones overflow."""
    generator = np.random.default_rng(0)
    factor = generator.normal(size=(6, 6)).astype(np.float32)
    matrix, b = tf.constant(factor @ factor.T), tf.constant(generator.normal(size=6).astype(np.float32))

    @tf.function(jit_compile=jit_compile)
    def run(b):
        return conjugate_gradient(lambda vector: tf.linalg.matvec(matrix, vector), b, max_iterations=4, damping=0.1)

    expected = run(b)
    # Powers of two scale without rounding.
    for power in (-100, -70, -40, 40, 70, 100):
        found = run(b * 2.0**power)
        assert found.status == expected.status == ConjugateGradientStatus.MAX_ITERATIONS
        np.testing.assert_allclose(found.solution * 2.0**-power, expected.solution, rtol=1e-5)


def test_zero_right_hand_side_converges_without_a_product():
    result = conjugate_gradient(lambda _: pytest.fail("product was called"), tf.zeros([4]), max_iterations=5)
    assert result.status == ConjugateGradientStatus.CONVERGED
    assert result.iterations == 0
    assert result.residual_norm == 0.0
    np.testing.assert_array_equal(result.solution, np.zeros(4))


def test_zero_tolerance_stops_at_the_exact_solution():
    result = solve(np.eye(3), np.array([1.0, 2.0, -4.0]), max_iterations=10, tolerance=0.0)
    assert result.status == ConjugateGradientStatus.CONVERGED
    assert result.iterations == 1
    np.testing.assert_array_equal(result.solution, [1.0, 2.0, -4.0])


@pytest.mark.parametrize(("failure", "number"), [(np.nan, 1), (np.inf, 2), (-np.inf, 4)])
def test_product_that_is_not_finite_ends_at_the_last_good_iterate(failure, number):
    matrix, b = definite_system(7, 8)
    product = product_failing_at_call(number, matrix, failure)
    result = conjugate_gradient(product, tf.constant(b), max_iterations=20)
    assert result.status == ConjugateGradientStatus.BREAKDOWN
    assert result.iterations == number - 1
    expected = solve(matrix, b, max_iterations=number - 1).solution if number > 1 else tf.zeros_like(b)
    np.testing.assert_allclose(result.solution, expected, rtol=1e-10)


def test_overflowing_step_is_a_breakdown():
    result = conjugate_gradient(lambda vector: 1e-30 * vector, tf.constant([1e15, 1e15]), max_iterations=5)
    assert result.status == ConjugateGradientStatus.BREAKDOWN
    np.testing.assert_array_equal(result.solution, [0.0, 0.0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_right_hand_side_that_is_not_finite_is_a_breakdown(bad):
    result = conjugate_gradient(lambda vector: vector, tf.constant([1.0, bad, 2.0]), max_iterations=5)
    assert result.status == ConjugateGradientStatus.BREAKDOWN
    assert result.iterations == 0
    np.testing.assert_array_equal(result.solution, np.zeros(3))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_same_system_gives_the_same_bits_and_leaves_b_alone(dtype):
    matrix, b = (array.astype(dtype) for array in definite_system(11, 20))
    right_hand_side = tf.constant(b)
    first = conjugate_gradient(times(matrix), right_hand_side, max_iterations=10)
    second = conjugate_gradient(times(matrix), right_hand_side, max_iterations=10)
    assert first.solution.dtype == dtype
    assert first.solution.numpy().tobytes() == second.solution.numpy().tobytes()
    assert first.residual_norm == second.residual_norm
    # An initial direction that shared memory with the residual or b would change them.
    assert right_hand_side.numpy().tobytes() == b.tobytes()


def test_compiled_by_xla_it_agrees():
    matrix, b = definite_system(13, 10)
    settings = {
        "max_iterations": 30,
        "tolerance": 1e-8,
        "damping": 0.3,
        "preconditioner": times(np.diag(1 / matrix.diagonal())),
    }
    compiled = tf.function(lambda b: conjugate_gradient(times(matrix), b, **settings), jit_compile=True)
    expected, result = solve(matrix, b, **settings), compiled(tf.constant(b))
    np.testing.assert_allclose(result.solution, expected.solution, rtol=1e-9)
    assert result.status == expected.status
    assert result.iterations == expected.iterations


@given(
    seed=SEEDS,
    size=st.integers(2, 12),
    iterations=st.integers(1, 6),
    damping=st.floats(0, 5),
    preconditioned=st.booleans(),
)
def test_iterates_are_those_of_the_transformed_and_damped_system(seed, size, iterations, damping, preconditioned):
    """With P = E E', they are E'^-1 times the plain iterates of (E^-1 A E'^-1) y = E^-1 b."""
    matrix, b = definite_system(seed, size)
    metric = definite_system(seed + 2, size)[0] if preconditioned else np.eye(size)
    settings = {"max_iterations": min(iterations, size - 1), "tolerance": 0.0}
    preconditioner = times(np.linalg.inv(metric)) if preconditioned else None
    result = solve(matrix, b, damping=damping, preconditioner=preconditioner, **settings)
    root = np.linalg.inv(np.linalg.cholesky(metric))
    plain = solve(root @ (matrix + damping * np.eye(size)) @ root.T, root @ b, **settings)
    np.testing.assert_allclose(result.solution, root.T @ plain.solution.numpy(), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(result.image, matrix @ result.solution.numpy(), rtol=1e-7, atol=1e-8)
    residual = np.linalg.norm(b - (matrix + damping * np.eye(size)) @ result.solution.numpy())
    np.testing.assert_allclose(result.residual_norm, residual, rtol=1e-6, atol=1e-9)
    assert b @ result.solution.numpy() > 0


def test_the_exact_inverse_needs_one_iteration():
    matrix, b = definite_system(5, 10)
    inverse = np.linalg.inv(matrix + 0.5 * np.eye(10))
    result = solve(matrix, b, max_iterations=5, damping=0.5, tolerance=1e-9, preconditioner=times(inverse))
    assert (result.status, result.iterations) == (ConjugateGradientStatus.CONVERGED, 1)
    np.testing.assert_allclose(result.solution, inverse @ b, rtol=1e-9)


@pytest.mark.parametrize(
    ("preconditioner", "status"),
    [
        (tf.negative, ConjugateGradientStatus.NON_POSITIVE_CURVATURE),
        (tf.zeros_like, ConjugateGradientStatus.NON_POSITIVE_CURVATURE),
        (lambda residual: np.nan * residual, ConjugateGradientStatus.BREAKDOWN),
    ],
)
def test_a_preconditioner_that_is_not_positive_definite_leaves_zeros(preconditioner, status):
    matrix, b = definite_system(5, 10)
    result = solve(matrix, b, max_iterations=5, preconditioner=preconditioner)
    assert (result.status, result.iterations) == (status, 0)
    np.testing.assert_array_equal(result.solution, np.zeros(10))


@pytest.mark.parametrize("setting", [{"max_iterations": 0}, {"tolerance": -1e-3}, {"damping": np.nan}])
def test_a_setting_outside_its_range_is_named(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        conjugate_gradient(tf.identity, tf.ones([2]), **{"max_iterations": 5, **setting})

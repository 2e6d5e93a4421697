"""Steps in a ball against optimality conditions and brute force, the hard case included."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.lecture import StepStatus, cauchy_step, dogleg_step, exact_step

SEEDS = st.integers(0, 100_000)
RADII = st.sampled_from([1e-6, 0.1, 1.0, 10.0, 1e4])
SOLVERS = [exact_step, cauchy_step, dogleg_step]


def model_value(gradient, hessian, steps):
    return steps @ gradient + 0.5 * np.einsum("...i,ij,...j->...", steps, hessian, steps)


def random_model(seed, size, shift):
    """Gradient and Hessian with eigenvalues from -3 + shift to 3 + shift."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.normal(size=(size, size)))
    eigenvalues = np.sort(rng.uniform(-3, 3, size)) + shift
    hessian = basis @ np.diag(eigenvalues) @ basis.T
    return rng.normal(size=size) * rng.choice([1e-3, 1.0, 1e3]), (hessian + hessian.T) / 2, basis


def assert_global_minimum(gradient, hessian, radius, step):
    """(H + lambda I) p = -g, lambda >= 0, H + lambda I positive semi-definite, lambda (radius - |p|) = 0."""
    scale = np.linalg.norm(gradient) + np.abs(hessian).max() * radius
    assert np.linalg.norm(step) <= radius * (1 + 1e-12)
    norm = np.linalg.norm(step)
    multiplier = -(step @ (hessian @ step + gradient)) / norm**2 if norm > 0 else 0.0
    residual = hessian @ step + multiplier * step + gradient
    assert np.linalg.norm(residual) <= 1e-7 * scale
    assert multiplier * norm >= -1e-9 * scale
    assert (np.linalg.eigvalsh(hessian)[0] + multiplier) * max(norm, 1e-300) >= -1e-7 * scale
    assert multiplier * (radius - norm) <= 1e-7 * scale


@settings(max_examples=80)
@given(seed=SEEDS, size=st.integers(1, 8), shift=st.sampled_from([-4.0, 0.0, 4.0]), radius=RADII)
def test_exact_step_meets_the_conditions_of_a_global_minimum(seed, size, shift, radius):
    gradient, hessian, _ = random_model(seed, size, shift)
    solution = exact_step(gradient, hessian, radius)
    assert_global_minimum(gradient, hessian, radius, solution.step)
    reduction = -model_value(gradient, hessian, solution.step)
    assert solution.predicted_reduction == pytest.approx(reduction)
    on_boundary = np.linalg.norm(solution.step) >= radius * (1 - 1e-12)
    assert on_boundary == (solution.status == StepStatus.BOUNDARY)


@settings(max_examples=80)
@given(seed=SEEDS, size=st.integers(2, 8), multiplicity=st.integers(1, 3), seen=st.sampled_from([0.0, 1e-18, 1e-12]))
def test_exact_step_in_the_hard_case_and_near_it(seed, size, multiplicity, seen):
    """The gradient has no component, or nearly none, in the lowest eigenspace, and the ball is large."""
    rng = np.random.default_rng(seed)
    multiplicity = min(multiplicity, size - 1)
    basis, _ = np.linalg.qr(rng.normal(size=(size, size)))
    eigenvalues = np.append(np.full(multiplicity, -2.0), rng.uniform(-1, 3, size - multiplicity))
    components = np.append(seen * rng.normal(size=multiplicity), rng.normal(size=size - multiplicity))
    hessian = basis @ np.diag(eigenvalues) @ basis.T
    hessian = (hessian + hessian.T) / 2
    gradient = basis @ components
    solution = exact_step(gradient, hessian, 100.0)
    assert solution.status in (StepStatus.BOUNDARY, StepStatus.HARD_CASE)
    assert np.linalg.norm(solution.step) == pytest.approx(100.0)
    assert_global_minimum(gradient, hessian, 100.0, solution.step)


def test_hard_case_by_hand():
    """H = diag(-2, 2), g = (0, 4): lambda = 2, p_2 = -1, and p_1 follows from the radius."""
    solution = exact_step([0.0, 4.0], np.diag([-2.0, 2.0]), 2.0)
    assert solution.status == StepStatus.HARD_CASE
    np.testing.assert_allclose(np.abs(solution.step), [np.sqrt(3), 1])
    assert solution.step[1] < 0
    # In a small ball, the same gradient and Hessian are not a hard case.
    assert exact_step([0.0, 4.0], np.diag([-2.0, 2.0]), 0.5).status == StepStatus.BOUNDARY


def test_saddle_is_left_along_the_most_negative_curvature():
    solution = exact_step(np.zeros(3), np.diag([1.0, -3.0, -1.0]), 2.0)
    np.testing.assert_allclose(np.abs(solution.step), [0, 2, 0], atol=1e-12)
    assert solution.predicted_reduction == pytest.approx(6)


@settings(max_examples=80)
@given(seed=SEEDS, size=st.integers(1, 6), shift=st.sampled_from([-4.0, 0.0, 4.0]), radius=RADII)
def test_cauchy_step_is_the_best_along_the_gradient_and_the_worst_of_the_three(seed, size, shift, radius):
    gradient, hessian, _ = random_model(seed, size, shift)
    solution = cauchy_step(gradient, hessian, radius)
    lengths = radius * np.linspace(0, 1, 2001)
    reductions = -model_value(gradient, hessian, -lengths[:, None] * gradient / np.linalg.norm(gradient))
    assert solution.predicted_reduction >= reductions.max() * (1 - 1e-12)
    norm = np.linalg.norm(gradient)
    np.testing.assert_allclose(solution.step, -np.linalg.norm(solution.step) * gradient / norm, atol=1e-12 * radius)
    # The decrease that convergence proofs need: Nocedal and Wright, lemma 4.3.
    exact, cauchy, dogleg = (solver(gradient, hessian, radius).predicted_reduction for solver in SOLVERS)
    assert exact * (1 + 1e-9) >= dogleg >= cauchy * (1 - 1e-9)
    enough = 0.5 * norm * min(radius, norm / np.linalg.norm(hessian, 2))
    assert solution.predicted_reduction >= enough * (1 - 1e-12)


@settings(max_examples=80)
@given(seed=SEEDS, size=st.integers(2, 6), radius=RADII)
def test_dogleg_step_is_the_best_of_its_path(seed, size, radius):
    gradient, hessian, _ = random_model(seed, size, 4.0)
    solution = dogleg_step(gradient, hessian, radius)
    cauchy = -(gradient @ gradient) / (gradient @ hessian @ gradient) * gradient
    newton = -np.linalg.solve(hessian, gradient)
    t = np.linspace(0, 1, 1001)[:, None]
    path = np.concatenate([t * cauchy, cauchy + t * (newton - cauchy)])
    path = path[np.linalg.norm(path, axis=1) <= radius]
    best = -model_value(gradient, hessian, path).min()
    assert solution.predicted_reduction >= best * (1 - 1e-12)
    assert np.linalg.norm(solution.step) <= radius * (1 + 1e-12)
    if np.linalg.norm(newton) <= radius:
        np.testing.assert_allclose(solution.step, newton, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("solver", SOLVERS)
def test_flat_model_and_minimum_give_no_step_and_a_linear_model_goes_to_the_boundary(solver):
    for hessian in (np.zeros((2, 2)), np.eye(2)):
        solution = solver(np.zeros(2), hessian, 1.0)
        assert (solution.status, solution.predicted_reduction) == (StepStatus.NO_DESCENT, 0)
        np.testing.assert_array_equal(solution.step, 0)
    solution = solver([3.0, 4.0], np.zeros((2, 2)), 10.0)
    np.testing.assert_allclose(solution.step, [-6, -8])
    assert solution.predicted_reduction == pytest.approx(50)
    for radius in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="radius"):
            solver([1.0], [[1.0]], radius)


def test_singular_hessian_with_its_minimum_inside():
    solution = exact_step([0.0, 2.0], np.diag([0.0, 1.0]), 5.0)
    assert solution.status == StepStatus.INTERIOR
    np.testing.assert_allclose(solution.step, [0, -2], atol=1e-12)

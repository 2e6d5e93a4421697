"""The closed form against SciPy's solvers of the same problem, and against certificates of optimality."""

import functools

import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf

from tf_trpo.numerics import constrained_step

KINDS = ("random", "parallel to the gain", "parallel to each other", "against each other", "zero", "inside")


@functools.cache
def solver(jit_compile=False):
    return tf.function(constrained_step, jit_compile=jit_compile, autograph=False)


def solve(gain, slopes, excess, metric, max_kl):
    step = solver()(*(tf.constant(array, tf.float64) for array in (gain, slopes, excess, metric, max_kl)))
    return step.coefficients.numpy(), bool(step.feasible)


def instance(rng, kind, constraints):
    """A problem in the span of F^-1 times the gradients, as for a policy: p = G e_0, A = G[1:], M = G."""
    vectors = rng.normal(size=(constraints + 1, 12)) * 10.0 ** rng.uniform(-2, 2, size=(constraints + 1, 1))
    if kind == "parallel to the gain":
        vectors[1] = rng.choice([-2.0, 0.5]) * vectors[0]
    elif kind == "parallel to each other" and constraints > 1:
        vectors[2] = 3.0 * vectors[1]
    elif kind == "against each other" and constraints > 1:
        vectors[2] = -0.1 * vectors[1]
    elif kind == "zero":
        vectors[1] = 0.0
    gram = vectors @ np.diag(rng.uniform(0.1, 10.0, 12)) @ vectors.T
    max_kl = 10.0 ** rng.uniform(-4, 0)
    reach = np.sqrt(2 * max_kl * np.diag(gram)[1:])
    excess = reach * rng.uniform(-1.5, 0.6 if kind != "inside" else -1.01, size=constraints)
    return gram[0], gram[1:], excess, gram, max_kl


def ball(gain, slopes, excess, metric, max_kl):
    """Return the problem in coordinates where M is the identity, by an eigendecomposition; rows have length 1 or 0."""
    scale = np.sqrt(np.diag(metric))
    scale = np.where(scale > 0, scale, 1.0)
    values, vectors = np.linalg.eigh(metric / np.outer(scale, scale))
    kept = values > 1e-9
    to_w = vectors[:, kept] / np.sqrt(values[kept]) / scale[:, None]
    gain, slopes = to_w.T @ gain, slopes @ to_w
    sizes = np.linalg.norm(slopes, axis=1)
    used = sizes > 1e-12 * (1.0 + sizes.max(initial=0.0))
    return (
        gain / np.linalg.norm(gain),
        slopes[used] / sizes[used, None],
        excess[used] / sizes[used],
        np.sqrt(2 * max_kl),
    )


def least_violation(rows, excess, radius):
    """Compute min over the ball of max_i (c_i + a_i'z), by its dual over the simplex."""
    if not len(rows):
        return -np.inf

    def dual(weights):
        return radius * np.linalg.norm(weights @ rows) - excess @ weights

    starts = [np.full(len(rows), 1.0 / len(rows)), *np.eye(len(rows))]
    simplex = {"type": "eq", "fun": lambda weights: weights.sum() - 1.0}
    # The dual is concave, and its corners are where SLSQP meets the kink at 0.
    found = [
        scipy.optimize.minimize(dual, 0.98 * start + 0.02 / len(rows), bounds=[(0, 1)] * len(rows), constraints=simplex)
        for start in starts
    ]
    return max(-each.fun for each in found)


@pytest.mark.parametrize("constraints", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [8, pytest.param(150, marks=pytest.mark.slow)])
def test_solution_is_optimal_by_its_multipliers(kind, constraints, count):
    """If p = lambda z + A'nu with lambda, nu >= 0 on the active constraints, a feasible point is optimal."""
    rng = np.random.default_rng([constraints, KINDS.index(kind)])
    feasible_count = 0
    for _ in range(count):
        problem = instance(rng, kind, constraints)
        coefficients, feasible = solve(*problem)
        _, rows, excess, radius = ball(*problem)
        gap = least_violation(rows, excess, radius)
        if not feasible:
            assert gap > -1e-6 * radius
            np.testing.assert_array_equal(coefficients, 0.0)
            continue
        feasible_count += 1
        assert gap < 1e-6 * radius
        _, a, c, m, max_kl = problem
        kl = 0.5 * coefficients @ m @ coefficients
        assert kl <= max_kl * (1 + 1e-6)
        lengths = np.sqrt(2 * max_kl * np.diag(m)[1:])
        left = (c + a @ coefficients) / np.where(lengths > 0, lengths, np.inf)
        assert (left <= 1e-7).all()
        # Stationarity in the whole space: F^-1/2 of each gradient, as columns of a root of the Gram matrix.
        values, vectors = np.linalg.eigh(m)
        root = (vectors * np.sqrt(np.maximum(values, 0.0))).T
        active = [root @ coefficients / np.sqrt(2 * max_kl)] if kl >= max_kl * (1 - 1e-6) else []
        active += [
            root[:, i + 1] / np.linalg.norm(root[:, i + 1]) for i in np.flatnonzero(left >= -1e-7) if m[i + 1, i + 1]
        ]
        _, residual = scipy.optimize.nnls(np.array(active).T, root[:, 0] / np.linalg.norm(root[:, 0]))
        # If a constraint touches the trust region, only half the digits are accurate.
        assert residual < 1e-3
    assert feasible_count > count / 8


@pytest.mark.parametrize("constraints", [1, 2, 3])
@pytest.mark.parametrize("count", [12, pytest.param(700, marks=pytest.mark.slow)])
def test_solution_agrees_with_slsqp(constraints, count):
    rng = np.random.default_rng(constraints)
    compared = 0
    for _ in range(count):
        problem = instance(rng, "random", constraints)
        coefficients, feasible = solve(*problem)
        gain, rows, excess, radius = ball(*problem)
        if not feasible:
            continue
        bounds = [
            {"type": "ineq", "fun": lambda z, radius=radius: 1.0 - z @ z},
            {"type": "ineq", "fun": lambda z, r=rows, c=excess / radius: -c - r @ z},
        ]
        found = [
            scipy.optimize.minimize(lambda z, g=gain: -(g @ z), start, constraints=bounds, options={"ftol": 1e-12})
            for start in (np.zeros(len(gain)), *rng.normal(size=(2, len(gain))) / 4)
        ]
        best = max((-each.fun for each in found if each.success), default=None)
        if best is not None:
            norm = np.sqrt(2 * problem[4]) * np.sqrt(problem[3][0, 0])
            assert problem[0] @ coefficients / norm == pytest.approx(best, abs=1e-5)
            compared += 1
    assert compared > count / 3


def dual_of_the_paper(q, r, s, c, delta):
    """Coefficients of F^-1 g and F^-1 b by theorem 2 of Achiam et al. (2017), for the limit c + b'x <= 0.

    They minimise -g'x, so their r has the other sign.
    """
    if c**2 / s > 2 * delta:
        return np.array([np.sqrt(2 * delta / q), 0.0])
    r = -r
    # lambda and the value of the dual for multipliers with the constraint active, and for those with it inactive.
    edge = max(r / c, 0.0)
    at_edge, beyond = (0.0, edge), (edge, np.inf)
    in_a, in_b = (at_edge, beyond) if c < 0 else (beyond, at_edge)
    x_a = np.clip(np.sqrt((q - r**2 / s) / (2 * delta - c**2 / s)), *in_a)
    x_b = np.clip(np.sqrt(q / (2 * delta)), *in_b)
    f_a = 0.5 / x_a * (r**2 / s - q) + x_a / 2 * (c**2 / s - 2 * delta) - r * c / s if x_a > 0 else -np.inf
    f_b = -0.5 * (q / x_b + 2 * delta * x_b) if x_b > 0 else -np.inf
    x = x_a if f_a >= f_b else x_b
    return np.array([1.0, -max(0.0, (x * c - r) / s)]) / x


def test_one_constraint_is_the_dual_of_the_paper():
    rng = np.random.default_rng(0)
    for _ in range(200):
        problem = instance(rng, "random", 1)
        gram, c, delta = problem[3], problem[2][0], problem[4]
        coefficients, feasible = solve(*problem)
        assert feasible == (c < 0 or c**2 / gram[1, 1] <= 2 * delta)
        if feasible:
            expected = dual_of_the_paper(gram[0, 0], gram[0, 1], gram[1, 1], c, delta)
            # An optimal lambda at the border of its set is accurate to half the digits.
            np.testing.assert_allclose(coefficients, expected, rtol=2e-4, atol=2e-6 * np.abs(expected).max())


def test_without_constraints_the_step_is_that_of_the_trust_region():
    step, feasible = solve(np.array([4.0]), np.zeros([0, 1]), np.zeros(0), np.array([[4.0]]), 0.01)
    assert feasible
    assert step == pytest.approx([np.sqrt(2 * 0.01 / 4.0)])


def test_a_violated_constraint_without_a_gradient_is_ignored():
    step, feasible = solve(np.array([4.0, 0.0]), np.zeros([1, 2]), np.ones(1), np.diag([4.0, 0.0]), 0.01)
    assert feasible
    np.testing.assert_allclose(step, [np.sqrt(2 * 0.01 / 4.0), 0.0])


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_give_no_step(place, value):
    problem = [np.array([4.0, 1.0]), np.array([[1.0, 2.0]]), np.array([-0.1]), np.array([[4.0, 1.0], [1.0, 2.0]])]
    problem[place] = problem[place] + value
    step, _ = solve(*problem, 0.01)
    np.testing.assert_array_equal(step, 0.0)


def test_five_constraints_are_refused():
    with pytest.raises(ValueError, match="at most 4 constraints, got 5"):
        constrained_step(
            tf.ones([6], tf.float64), tf.ones([5, 6], tf.float64), tf.ones([5], tf.float64), tf.eye(6), 0.1
        )


def test_xla_gives_the_same_step():
    for seed in range(3):
        problem = instance(np.random.default_rng(seed), "random", 1)
        compiled = solver(True)(*(tf.constant(array, tf.float64) for array in problem))
        step, feasible = solve(*problem)
        assert bool(compiled.feasible) == feasible
        np.testing.assert_allclose(compiled.coefficients, step, rtol=1e-9, atol=1e-12)

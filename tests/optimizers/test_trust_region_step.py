"""The trust-region step: everything that it claims, computed again from the weights it left behind."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_trpo.numerics import LineSearchStatus
from tf_trpo.optimizers import AdaptiveRadius, NaturalDirection, TrustRegion

SEEDS = range(6)
WIDE = TrustRegion(0.5, direction=NaturalDirection(cg_iterations=60))
DOUBLE_BACKPROP = TrustRegion(0.01, direction=NaturalDirection(fisher_vector_product="double-backprop"))


def distance(one, other):
    """Between two steps, relative to their length. Conjugate gradient magnifies rounding somewhat."""
    return np.linalg.norm(one.theta - other.theta) / np.linalg.norm(other.change)


def cosine(one, other):
    return one @ other / np.linalg.norm(one) / np.linalg.norm(other)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**20), scale=st.sampled_from([1e-3, 1.0, 1e3]), padding=st.integers(0, 40))
def test_a_step_is_accepted_if_it_improves_the_surrogate_within_max_kl_exactly(stepper, seed, scale, padding):
    step = stepper.run(seed, scale=scale, padding=padding)
    assert step.outcome.accepted == (step.outcome.line_search_status == LineSearchStatus.ACCEPTED)
    assert step.outcome.accepted == (step.improvement > 0)
    assert step.outcome.accepted != np.array_equal(step.theta, step.old_theta)
    assert step.kl <= stepper.optimizer.max_kl * (1 + 1e-6)
    assert step.outcome.kl <= stepper.optimizer.max_kl


def test_ordinary_batches_are_accepted(stepper):
    """Without this, the properties above could hold of refused steps only, or of tiny ones."""
    steps = [stepper.run(seed) for seed in range(20)]
    assert all(step.outcome.accepted for step in steps)
    assert all(step.kl > 0.4 * stepper.optimizer.max_kl for step in steps[:6])


def test_the_full_step_solves_the_damped_system_and_its_undamped_quadratic_kl_is_max_kl(kind, make_stepper):
    stepper = make_stepper(WIDE, kind)
    for seed in SEEDS:
        batch, fisher, gradient = stepper.derivatives(seed, padding=5)
        damped = fisher + stepper.optimizer.direction.cg_damping * np.eye(len(gradient))
        exact = np.linalg.solve(damped, gradient)
        step = stepper.step(batch)
        assert cosine(step.change, exact) == pytest.approx(1, abs=1e-5)
        full = step.change / stepper.optimizer.search.backtrack_ratio**step.outcome.backtracks
        assert 0.5 * full @ fisher @ full == pytest.approx(stepper.optimizer.max_kl, rel=1e-3)
        assert 0.5 * full @ damped @ full > 1.1 * stepper.optimizer.max_kl
        # A gradient step would not pass, nor would one without damping.
        assert cosine(gradient, exact) < 0.98
        assert cosine(np.linalg.lstsq(fisher, gradient, rcond=1e-9)[0], exact) < 0.98


@pytest.mark.parametrize("scale", [1e-30, 1000.0, 1e30])
def test_scaling_the_advantages_leaves_the_step_as_it_is(stepper, scale):
    """The trust region sets the length: only the direction of the gradient matters, also beyond float32's squares."""
    step, scaled = stepper.run(3), stepper.run(3, scale=scale)
    assert scaled.outcome.backtracks == step.outcome.backtracks
    assert distance(scaled, step) < 0.01
    for name in ("gradient_norm", "predicted_improvement"):
        assert getattr(scaled.outcome, name) == pytest.approx(scale * getattr(step.outcome, name), rel=0.01)
    assert 0 < scaled.outcome.cg_residual < 0.1


def test_both_fisher_vector_products_give_the_same_step(make_stepper):
    for seed in SEEDS:
        step = make_stepper(TrustRegion(), "categorical").run(seed, padding=5)
        twin = make_stepper(DOUBLE_BACKPROP, "categorical").run(seed, padding=5)
        assert twin.outcome.backtracks == step.outcome.backtracks
        assert distance(twin, step) < 0.01


@pytest.mark.parametrize("invalid", [0, 12])
def test_the_direction_is_that_of_the_fisher_matrix_of_a_part_of_the_samples(make_stepper, invalid):
    """The step solves the damped system of some half of the rows, the valid ones first, and not that of all."""
    half = dataclasses.replace(WIDE.direction, curvature_fraction=0.5)
    stepper = make_stepper(dataclasses.replace(WIDE, direction=half))
    stepper.restart(3)
    order, batch = np.random.default_rng(0).permutation(48), stepper.batch(3)
    weights = np.where(np.isin(np.arange(48), order[:invalid]), 0, 1 / (48 - invalid)).astype(np.float32)
    batch = batch._replace(weights=tf.constant(weights))
    gradient = stepper.gradient(batch)
    step = stepper.step(batch)
    stepper.assign(step.old_theta)
    rows = np.sort(order[invalid : invalid + 24])
    # All 48 rows, so that the Fisher matrix is not traced again.
    part = batch._replace(weights=tf.constant(np.isin(np.arange(48), rows) / 24, tf.float32))

    def cosine_to_solution(samples):
        damped = stepper.fisher(samples) + stepper.optimizer.direction.cg_damping * np.eye(len(gradient))
        return cosine(step.change, np.linalg.solve(damped, gradient))

    assert cosine_to_solution(part) == pytest.approx(1, abs=1e-5)
    assert cosine_to_solution(batch) < 0.999


@pytest.mark.parametrize(("gap", "shortened"), [(19.0, True), (20.0, True), (21.0, False), (34.0, False)])
def test_a_policy_that_is_sure_of_one_action_still_takes_a_step(gap, shortened, make_stepper):
    """A small curvature gives a full step that is far too long; from some gap on, the damping alone measures it.

    Such a step is far inside the trust region, and says nothing for a larger one.
    """
    stepper = make_stepper(TrustRegion(max_kl=0.01, radius=AdaptiveRadius()), "categorical")
    stepper.restart(0)
    stepper.policy.encoder.output_layer.bias.assign([gap, 0.0, 0.0, 0.0])
    batch = stepper.batch(2)
    assert set(batch.actions.numpy()) == {0}
    result = stepper.step(batch)
    assert result.outcome.accepted
    assert result.improvement > 0
    assert result.kl <= 0.01
    assert (result.outcome.backtracks > 10) == shortened
    if not shortened:
        np.testing.assert_allclose(np.linalg.norm(result.change), np.sqrt(2 * 0.01 / 0.1), rtol=1e-5)
        assert float(stepper.state.adapted) == 0.01

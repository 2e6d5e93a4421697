"""The trust-region step: everything that it claims, computed again from the weights it left behind."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_trpo.estimation import Batch
from tf_trpo.numerics import LineSearchStatus
from tf_trpo.optimizers import NaturalDirection, TrustRegion

SEEDS = range(6)
WIDE = TrustRegion(0.5, direction=NaturalDirection(cg_iterations=60))
DOUBLE_BACKPROP = TrustRegion(direction=NaturalDirection(fisher_vector_product="double-backprop"))
any_batch = given(seed=st.integers(0, 2**20), scale=st.sampled_from([1e-3, 1.0, 1e3]), padding=st.integers(0, 40))
thorough = settings(max_examples=25, deadline=None, derandomize=True)


def recomputed(figure):
    """Within what a second run of the float32 network may differ by."""
    return pytest.approx(figure, rel=2e-3, abs=1e-9)


def distance(one, other):
    """Between two steps, relative to their length. Conjugate gradient magnifies rounding somewhat."""
    return np.linalg.norm(one.theta - other.theta) / np.linalg.norm(other.theta - other.old_theta)


@any_batch
@thorough
def test_an_accepted_step_keeps_the_kl_within_max_kl_exactly(stepper, seed, scale, padding):
    step = stepper.run(seed, scale=scale, padding=padding)
    assert step.kl <= stepper.optimizer.max_kl * (1 + 1e-6)
    assert step.outcome.kl <= stepper.optimizer.max_kl
    assert step.outcome.kl == recomputed(step.kl)
    assert step.outcome.max_kl_over_states == recomputed(step.max_kl_over_states)


@any_batch
@thorough
def test_an_accepted_step_improves_the_surrogate(stepper, seed, scale, padding):
    step = stepper.run(seed, scale=scale, padding=padding)
    assert step.outcome.accepted == (step.improvement > 0)
    assert step.outcome.actual_improvement == recomputed(step.improvement)
    assert step.outcome.surrogate == pytest.approx(step.surrogate, rel=1e-4, abs=1e-4 * scale)


@any_batch
@thorough
def test_the_weights_change_if_and_only_if_the_step_is_accepted(stepper, seed, scale, padding):
    step = stepper.run(seed, scale=scale, padding=padding)
    assert step.outcome.accepted == (step.outcome.line_search_status == LineSearchStatus.ACCEPTED)
    assert step.outcome.accepted != np.array_equal(step.theta, step.old_theta)


def test_ordinary_batches_are_accepted(stepper):
    """Without this, the properties above could hold of refused steps only."""
    assert all(stepper.run(seed).outcome.accepted for seed in range(20))


@pytest.mark.parametrize("seed", SEEDS)
def test_an_accepted_step_spends_a_good_part_of_the_trust_region(stepper, seed):
    assert stepper.run(seed).kl > 0.4 * stepper.optimizer.max_kl


@pytest.mark.parametrize("seed", SEEDS)
def test_outcome_is_consistent_with_the_weights(stepper, seed):
    stepper.restart(seed)
    batch = stepper.batch(seed, padding=5)
    gradient = stepper.gradient(batch)
    step = stepper.step(batch)
    outcome = step.outcome
    change = step.theta.astype(np.float64) - step.old_theta
    assert outcome.gradient_norm == recomputed(np.linalg.norm(gradient))
    assert outcome.step_norm == recomputed(np.linalg.norm(change))
    assert outcome.predicted_improvement == recomputed(gradient @ change)
    assert outcome.improvement_ratio == pytest.approx(outcome.actual_improvement / outcome.predicted_improvement)
    assert outcome.entropy == recomputed(step.entropy)
    assert outcome.candidate_kl == outcome.kl
    assert outcome.candidate_improvement == outcome.actual_improvement
    assert all(np.ndim(value) == 0 for value in outcome if value is not None)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_full_step_has_a_quadratic_kl_of_max_kl_without_damping(stepper, seed):
    stepper.restart(seed)
    batch = stepper.batch(seed, padding=5)
    fisher = stepper.fisher(batch)
    step = stepper.step(batch)
    ratio = stepper.optimizer.search.backtrack_ratio**step.outcome.backtracks
    full = (step.theta.astype(np.float64) - step.old_theta) / ratio
    damped = fisher + stepper.optimizer.direction.cg_damping * np.eye(len(full))
    assert 0.5 * full @ fisher @ full == pytest.approx(stepper.optimizer.max_kl, rel=1e-3)
    assert 0.5 * full @ damped @ full > 1.1 * stepper.optimizer.max_kl


@pytest.mark.parametrize("seed", SEEDS)
def test_the_direction_solves_the_damped_system(kind, make_stepper, seed):
    stepper = make_stepper(WIDE, kind)
    stepper.restart(seed)
    batch = stepper.batch(seed, padding=5)
    fisher, gradient = stepper.fisher(batch), stepper.gradient(batch)
    damped = fisher + stepper.optimizer.direction.cg_damping * np.eye(len(gradient))
    exact = np.linalg.solve(damped, gradient)
    step = stepper.step(batch)
    change = step.theta.astype(np.float64) - step.old_theta
    cosine = change @ exact / np.linalg.norm(change) / np.linalg.norm(exact)
    assert cosine == pytest.approx(1, abs=1e-5)
    # A gradient step would not pass, nor would one without damping.
    undamped = np.linalg.lstsq(fisher, gradient, rcond=1e-9)[0]
    assert gradient @ exact / np.linalg.norm(gradient) / np.linalg.norm(exact) < 0.98
    assert undamped @ exact / np.linalg.norm(undamped) / np.linalg.norm(exact) < 0.98


@pytest.mark.parametrize("optimizer", [TrustRegion(), WIDE])
def test_the_first_candidate_that_passes_is_taken(kind, make_stepper, optimizer):
    stepper = make_stepper(optimizer, kind)
    max_kl = stepper.optimizer.max_kl
    backtracked = 0
    for seed in range(20):
        stepper.restart(seed)
        batch = stepper.batch(seed)
        old = stepper.parameters(batch)
        step = stepper.step(batch)
        if not step.outcome.accepted or step.outcome.backtracks == 0:
            continue
        backtracked += 1
        change = (step.theta - step.old_theta) / stepper.optimizer.search.backtrack_ratio
        stepper.assign(step.old_theta + change)
        before = stepper.figures(old, stepper.parameters(batch), batch)
        assert before["kl"] > max_kl * (1 - 1e-4) or before["improvement"] <= 0
    assert backtracked >= 3


@pytest.mark.parametrize("seed", SEEDS)
def test_garbage_in_rows_of_weight_zero_changes_not_one_bit(stepper, seed):
    stepper.restart(seed)
    clean = stepper.batch(seed, padding=20)
    padding = clean.weights.numpy() == 0
    rng = np.random.default_rng(seed)
    actions = clean.actions.numpy().copy()
    actions[padding] = 0 if actions.dtype == np.int32 else 1e4
    garbage = clean._replace(
        observations=tf.where(padding[:, None], tf.constant(1e6 * rng.normal(size=(48, 3)), tf.float32), clean[0]),
        actions=tf.constant(actions),
        advantages=tf.where(padding, tf.constant(1e9 * rng.normal(size=48), tf.float32), clean.advantages),
    )
    expected = stepper.step(clean)
    stepper.assign(expected.old_theta)
    step = stepper.step(garbage)
    assert step.outcome.accepted
    np.testing.assert_array_equal(step.theta, expected.theta)
    assert step.outcome == expected.outcome


def test_padding_counts_for_nothing(make_stepper):
    """The step from 28 samples and 20 rows of padding is the step from the 28 samples."""
    stepper = make_stepper(TrustRegion())
    for seed in range(3):
        stepper.restart(seed)
        padded = stepper.batch(seed, padding=20)
        valid = padded.weights.numpy() > 0
        alone = type(padded)(*(tf.boolean_mask(part, valid) for part in padded[:4]))
        step = stepper.step(padded)
        stepper.assign(step.old_theta)
        other = stepper.step(alone)
        assert distance(other, step) < 0.01


def test_scaling_the_advantages_leaves_the_step_as_it_is(stepper):
    """The trust region sets the length: only the direction of the gradient matters."""
    step, scaled = stepper.run(3), stepper.run(3, scale=1000.0)
    assert scaled.outcome.backtracks == step.outcome.backtracks
    assert distance(scaled, step) < 0.01


def test_both_fisher_vector_products_give_the_same_step(kind, make_stepper):
    for seed in SEEDS:
        step = make_stepper(TrustRegion(), kind).run(seed, padding=5)
        twin = make_stepper(DOUBLE_BACKPROP, kind).run(seed, padding=5)
        assert twin.outcome.backtracks == step.outcome.backtracks
        np.testing.assert_array_equal(twin.old_theta, step.old_theta)
        assert distance(twin, step) < 0.01


@pytest.mark.parametrize(
    ("chunk_size", "jit_compile"),
    [
        (1, False),
        pytest.param(20, False, marks=pytest.mark.slow),
        pytest.param(48, False, marks=pytest.mark.slow),
        pytest.param(7, True, marks=pytest.mark.slow),
    ],
)
def test_chunks_give_the_same_step_to_rounding(kind, make_stepper, chunk_size, jit_compile):
    for seed in SEEDS:
        step = make_stepper(TrustRegion(), kind).run(seed, padding=5)
        settings = {"jit_compile": jit_compile, "chunk_size": chunk_size}
        chunked = make_stepper(TrustRegion(), kind, **settings).run(seed, padding=5)
        assert chunked.outcome.backtracks == step.outcome.backtracks
        assert distance(chunked, step) < 0.01
        for name in ("kl", "improvement", "surrogate", "entropy", "max_kl_over_states"):
            own = {"improvement": "actual_improvement"}.get(name, name)
            assert getattr(chunked.outcome, own) == pytest.approx(getattr(chunked, name), rel=1e-4, abs=1e-7), name


def test_the_direction_is_that_of_the_fisher_matrix_of_a_part_of_the_samples(kind, make_stepper):
    """The step solves the damped system of some half of the rows, and not that of all."""
    half = dataclasses.replace(WIDE.direction, curvature_fraction=0.5)
    stepper = make_stepper(dataclasses.replace(WIDE, direction=half), kind)
    stepper.restart(3)
    batch = stepper.batch(3)
    gradient = stepper.gradient(batch)
    step = stepper.step(batch)
    change = step.theta.astype(np.float64) - step.old_theta
    stepper.assign(step.old_theta)
    rows = np.sort(np.random.default_rng(0).permutation(48)[:24])
    part = Batch(*(tf.gather(array, rows) for array in batch[:4]))._replace(weights=tf.fill([24], 1 / 24))

    def cosine_to_solution(samples):
        damped = stepper.fisher(samples) + stepper.optimizer.direction.cg_damping * np.eye(len(gradient))
        exact = np.linalg.solve(damped, gradient)
        return change @ exact / np.linalg.norm(change) / np.linalg.norm(exact)

    assert cosine_to_solution(part) == pytest.approx(1, abs=1e-5)
    assert cosine_to_solution(batch) < 0.999


def test_curvature_of_padding_alone_moves_nothing(make_stepper):
    """All valid samples may be outside the fraction: then there is no metric, and no step."""
    stepper = make_stepper(TrustRegion(direction=NaturalDirection(curvature_fraction=0.1)))
    stepper.restart(0)
    batch = stepper.batch(0)
    rows = np.random.default_rng(0).permutation(48)[:5]
    weights = np.where(np.isin(np.arange(48), rows), 0, 1 / 43).astype(np.float32)
    step = stepper.step(batch._replace(weights=tf.constant(weights)))
    assert not step.outcome.accepted
    np.testing.assert_array_equal(step.theta, step.old_theta)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["categorical", "fixed-std"], indirect=True)
def test_xla_gives_the_same_step_to_rounding(kind, make_stepper):
    for seed in SEEDS:
        step = make_stepper(TrustRegion(), kind).run(seed, padding=5)
        compiled = make_stepper(TrustRegion(), kind, jit_compile=True).run(seed, padding=5)
        assert compiled.outcome.backtracks == step.outcome.backtracks
        assert distance(compiled, step) < 0.01
        assert compiled.kl <= TrustRegion().max_kl * (1 + 1e-6)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("kind", ["categorical", "fixed-std"], indirect=True)
def test_the_same_batch_from_the_same_weights_gives_the_same_bits(kind, make_stepper, jit_compile):
    stepper = make_stepper(TrustRegion(), kind, jit_compile=jit_compile)
    first, again = stepper.run(4), stepper.run(4)
    assert first.outcome.accepted
    np.testing.assert_array_equal(first.theta, again.theta)
    assert first.outcome == again.outcome


def test_statistics_of_the_normalisation_stay_as_they_are(stepper):
    stepper.restart(0)
    before = [variable.numpy() for variable in stepper.policy.encoder.normalization.weights]
    assert stepper.step(stepper.batch(0)).outcome.accepted
    for variable, value in zip(stepper.policy.encoder.normalization.weights, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_the_free_log_std_is_moved_too(make_stepper):
    stepper = make_stepper(TrustRegion())
    stepper.restart(1)
    before = stepper.policy.action_distribution.log_std.numpy()
    stepper.step(stepper.batch(1))
    assert np.all(stepper.policy.action_distribution.log_std.numpy() != before)


def test_a_larger_trust_region_gives_a_larger_step(kind, make_stepper):
    steps = [make_stepper(optimizer, kind).run(2) for optimizer in (TrustRegion(), WIDE)]
    assert all(step.outcome.accepted for step in steps)
    assert steps[1].outcome.step_norm > 1.5 * steps[0].outcome.step_norm


def test_damping_is_no_part_of_the_constraint(make_stepper):
    """With ever so much damping the direction becomes the gradient, and the KL is still spent."""
    step = make_stepper(TrustRegion(direction=NaturalDirection(cg_damping=1e4))).run(2)
    assert step.outcome.accepted
    assert 0.4 * 0.01 < step.kl <= 0.01

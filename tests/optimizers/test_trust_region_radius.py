"""Options of TrustRegion: the limit on the largest KL, and the radius that adapts."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.numerics import LineSearchStatus
from tf_trpo.optimizers import TrustRegion


def test_the_largest_kl_of_a_state_is_kept_within_the_limit(kind, make_stepper_of):
    stepper = make_stepper_of(TrustRegion(0.02, constraint="max", max_backtracks=20), kind)
    for seed in range(8):
        step = stepper.run(seed, padding=5)
        assert step.outcome.accepted
        assert step.max_kl_over_states <= 0.02 * (1 + 1e-6)
        assert step.max_kl_over_states > 0.02 * 0.8**2 * 0.8
        assert step.outcome.max_kl_over_states == pytest.approx(step.max_kl_over_states, rel=3e-3)
        assert step.outcome.candidate_kl == step.outcome.max_kl_over_states
        assert step.outcome.kl == pytest.approx(step.kl, rel=3e-3)
        assert step.kl < 0.9 * step.max_kl_over_states


def test_the_limit_on_the_mean_lets_single_states_go_further(kind, make_stepper_of):
    stepper = make_stepper_of(TrustRegion(0.02), kind)
    steps = [stepper.run(seed) for seed in range(8)]
    assert max(step.max_kl_over_states for step in steps) > 2 * 0.02


def test_both_limits_are_along_the_same_direction(make_stepper_of):
    changes = []
    for constraint in ("mean", "max"):
        step = make_stepper_of(TrustRegion(constraint=constraint, max_backtracks=20)).run(1)
        changes.append((step.theta - step.old_theta) / np.linalg.norm(step.theta - step.old_theta))
    assert changes[0] @ changes[1] == pytest.approx(1, abs=1e-4)


def test_the_full_step_is_already_near_the_limit_on_the_largest_kl(kind, make_stepper_of):
    stepper = make_stepper_of(TrustRegion(1e-4, constraint="max"), kind)
    for seed in range(5):
        step = stepper.run(seed)
        assert step.outcome.backtracks <= 1
        if step.outcome.backtracks == 0:
            assert step.max_kl_over_states == pytest.approx(1e-4, rel=0.05)


def test_a_step_refused_for_its_largest_kl_says_so(make_stepper_of):
    stepper = make_stepper_of(TrustRegion(0.02, constraint="max", max_backtracks=0))
    steps = [stepper.run(seed) for seed in range(8)]
    refused = [step for step in steps if not step.outcome.accepted]
    assert 0 < len(refused) < 8
    for step in refused:
        assert step.outcome.line_search_status == LineSearchStatus.KL_ABOVE_LIMIT
        assert 0.02 < step.outcome.candidate_kl < 0.03
        np.testing.assert_array_equal(step.theta, step.old_theta)


def expected_radius(outcome, radius, optimizer):
    """The next radius, by the rule as the books have it."""
    rule = optimizer.adaptive_radius
    if outcome.line_search_status == LineSearchStatus.NO_DIRECTION:
        return radius
    reached = outcome.backtracks == 0 or outcome.candidate_kl >= optimizer.backtracking.backtrack_ratio**2 * radius
    if not outcome.accepted or outcome.improvement_ratio < rule.shrink_below:
        radius *= rule.shrink_factor
    elif outcome.improvement_ratio > rule.expand_above and reached:
        radius *= rule.expand_factor
    return min(max(radius, rule.min_radius), rule.max_radius)


OWN_RULE = {
    "shrink_below": 0.6,
    "expand_above": 0.97,
    "shrink_factor": 0.7,
    "expand_factor": 1.3,
    "backtrack_ratio": 0.6,
}


@pytest.mark.parametrize(("max_kl", "rule"), [(0.001, {}), (0.3, OWN_RULE), (3.0, {})])
def test_the_radius_follows_the_agreement_with_the_model(kind, make_stepper_of, max_kl, rule):
    stepper = make_stepper_of(TrustRegion(max_kl, radius="adaptive", min_radius=1e-4, max_radius=4.0, **rule), kind)
    radius = max_kl
    for seed in range(6):
        step = stepper.run(seed)
        assert step.outcome.trust_region_radius == radius
        assert step.outcome.candidate_kl <= radius or not step.outcome.accepted
        radius = expected_radius(step.outcome, radius, stepper.optimizer)
        assert float(stepper.optimizer.variables[0]) == radius


def test_the_radius_both_grows_and_shrinks(make_stepper_of):
    """Without this, the rule above could be followed by radii that never move."""
    small = make_stepper_of(TrustRegion(0.001, radius="adaptive", max_radius=0.003))
    radii = [float(small.run(seed).outcome.trust_region_radius) for seed in range(5)]
    assert radii[:3] == pytest.approx([0.001, 0.002, 0.003])
    assert radii[-1] == pytest.approx(0.003)
    large = make_stepper_of(TrustRegion(100.0, radius="adaptive", max_radius=100.0, min_radius=20.0, max_backtracks=0))
    radii = [float(large.run(seed).outcome.trust_region_radius) for seed in (2, 3, 4)]
    assert radii == pytest.approx([100.0, 25.0, 20.0])


def test_without_a_direction_the_radius_stays(make_stepper_of):
    stepper = make_stepper_of(TrustRegion(0.01, radius="adaptive"))
    stepper.restart(0)
    assert not stepper.outcome(stepper.batch(0, scale=0.0)).accepted
    assert float(stepper.optimizer.variables[0]) == 0.01


@pytest.mark.parametrize("constraint", ["mean", "max"])
def test_the_radius_follows_a_schedule_of_the_steps(kind, make_stepper_of, constraint):
    schedule = keras.optimizers.schedules.PolynomialDecay(0.04, 4, 0.01)
    stepper = make_stepper_of(TrustRegion(schedule, constraint=constraint, max_backtracks=20), kind)
    for number, radius in enumerate([0.04, 0.0325, 0.025, 0.0175, 0.01, 0.01]):
        assert int(stepper.optimizer.variables[0]) == number
        step = stepper.run(number)
        assert step.outcome.trust_region_radius == pytest.approx(radius, rel=1e-6)
        assert step.outcome.accepted
        assert 0.5 * radius < step.outcome.candidate_kl <= step.outcome.trust_region_radius


@pytest.mark.parametrize("last", [0.0, -1.0])
def test_a_schedule_that_ends_at_nothing_leaves_next_to_nothing(make_stepper_of, last):
    stepper = make_stepper_of(TrustRegion(keras.optimizers.schedules.PolynomialDecay(0.04, 1, last)))
    assert stepper.run(0).outcome.accepted
    step = stepper.run(1)
    assert step.outcome.trust_region_radius == 1e-10
    assert step.outcome.candidate_kl <= 1e-10 or not step.outcome.accepted
    # Whatever float32 makes of so small a step, it could be computed.
    assert step.outcome.line_search_status in (
        LineSearchStatus.ACCEPTED,
        LineSearchStatus.KL_ABOVE_LIMIT,
        LineSearchStatus.NO_IMPROVEMENT,
    )


def test_the_schedule_is_followed_in_xla(make_stepper_of):
    schedule = keras.optimizers.schedules.PolynomialDecay(0.04, 4, 0.01)
    plain, compiled = (make_stepper_of(TrustRegion(schedule), jit_compile=jit) for jit in (False, True))
    for seed in range(3):
        steps = [stepper.run(seed) for stepper in (plain, compiled)]
        assert steps[0].outcome.trust_region_radius == steps[1].outcome.trust_region_radius
        np.testing.assert_allclose(steps[1].theta, steps[0].theta, rtol=1e-3, atol=1e-4)


def test_a_schedule_needs_build(make_stepper_of):
    stepper = make_stepper_of(TrustRegion())
    optimizer = TrustRegion(keras.optimizers.schedules.PolynomialDecay(0.04, 4, 0.01))
    with pytest.raises(ValueError, match="must be built before its first step"):
        optimizer.step(stepper.policy, stepper.batch(0))


def test_a_fixed_radius_is_reported_and_is_no_state(make_stepper_of):
    stepper = make_stepper_of(TrustRegion(0.02))
    assert stepper.run(0).outcome.trust_region_radius == 0.02
    assert stepper.optimizer.variables == []


def test_an_adaptive_radius_needs_build(make_stepper_of):
    stepper = make_stepper_of(TrustRegion())
    with pytest.raises(ValueError, match="must be built before its first step"):
        TrustRegion(radius="adaptive").step(stepper.policy, stepper.batch(0))


@pytest.mark.slow
def test_the_adapted_radius_works_in_xla(make_stepper_of):
    plain, compiled = (
        make_stepper_of(TrustRegion(0.001, radius="adaptive", constraint="max"), jit_compile=jit)
        for jit in (False, True)
    )
    for seed in range(2):
        steps = [stepper.run(seed) for stepper in (plain, compiled)]
        assert steps[0].outcome.trust_region_radius == steps[1].outcome.trust_region_radius
        np.testing.assert_allclose(steps[1].theta, steps[0].theta, rtol=1e-3, atol=1e-4)
    assert isinstance(plain.optimizer.variables[0], tf.Variable)

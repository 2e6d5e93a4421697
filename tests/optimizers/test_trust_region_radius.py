"""The limit of TrustRegion: on the largest KL, adaptive, and on a schedule."""

import numpy as np
import pytest

from tf_trpo.numerics import LineSearchStatus
from tf_trpo.optimizers import AdaptiveRadius, Backtracking, TrustRegion

MANY, NONE = Backtracking(max_backtracks=20), Backtracking(max_backtracks=0)


def test_the_largest_kl_of_a_state_is_kept_within_the_limit(make_stepper):
    stepper = make_stepper(TrustRegion(0.02, constraint="max", search=MANY), "categorical")
    for seed in range(8):
        step = stepper.run(seed, padding=5)
        assert step.outcome.accepted
        assert step.max_kl_over_states <= 0.02 * (1 + 1e-6)
        assert step.max_kl_over_states > 0.02 * 0.8**2 * 0.8
        assert step.outcome.trust_region_radius == 0.02
        assert step.kl < 0.9 * step.max_kl_over_states


def test_a_step_refused_for_its_largest_kl_says_so(make_stepper):
    stepper = make_stepper(TrustRegion(0.02, constraint="max", search=NONE))
    steps = [stepper.run(seed) for seed in range(8)]
    refused = [step for step in steps if not step.outcome.accepted]
    assert 0 < len(refused) < 8
    for step in refused:
        assert step.outcome.line_search_status == LineSearchStatus.KL_ABOVE_LIMIT
        assert 0.02 < step.outcome.candidate_kl < 0.03
        np.testing.assert_array_equal(step.theta, step.old_theta)


def expected_radius(outcome, radius, optimizer):
    """The next radius, by the rule as the books have it."""
    rule = optimizer.radius
    if outcome.line_search_status == LineSearchStatus.NO_DIRECTION:
        return radius
    least = 1e-3 if outcome.backtracks == 0 else optimizer.search.backtrack_ratio**2
    reached = outcome.candidate_kl >= least * radius
    if not outcome.accepted or outcome.improvement_ratio < rule.shrink_below:
        radius *= rule.shrink_factor
    elif outcome.improvement_ratio > rule.expand_above and reached:
        radius *= rule.expand_factor
    return min(max(radius, rule.min_radius), rule.max_radius)


OWN_RULE = AdaptiveRadius(1e-4, 4.0, shrink_below=0.6, expand_above=0.97, shrink_factor=0.7, expand_factor=1.3)


def test_the_radius_follows_the_agreement_with_the_model(make_stepper):
    stepper, factors = make_stepper(TrustRegion(0.3, radius=OWN_RULE, search=Backtracking(0.6)), "categorical"), set()
    for start in (0.001, 0.3, 3.0):
        stepper.state.adapted.assign(radius := start)
        for seed in range(6):
            outcome = stepper.run(seed).outcome
            assert outcome.trust_region_radius == radius
            assert outcome.candidate_kl <= radius or not outcome.accepted
            following = expected_radius(outcome, radius, stepper.optimizer)
            factors.add(round(following / radius, 9))
            radius = following
            assert float(stepper.state.adapted) == radius
    assert {0.7, 1.0, 1.3} <= factors


def test_the_radius_ends_at_its_limits(make_stepper):
    small = make_stepper(TrustRegion(0.001, radius=AdaptiveRadius(0.0002, 0.003)))
    radii = [float(small.run(seed).outcome.trust_region_radius) for seed in range(5)]
    assert radii == pytest.approx([0.001, 0.002, 0.003, 0.003, 0.003])
    large = make_stepper(TrustRegion(100.0, radius=AdaptiveRadius(20.0, 1e12), search=NONE))
    radii = [float(large.run(seed).outcome.trust_region_radius) for seed in (2, 3, 4)]
    assert radii == pytest.approx([100.0, 25.0, 20.0])


def test_the_limit_goes_linearly_with_progress(make_stepper):
    stepper = make_stepper(TrustRegion(0.04, final_max_kl=1e-4, constraint="max", search=MANY))
    assert stepper.state.variables == []
    for progress, limit in [(0.0, 0.04), (0.25, 0.030025), (0.5, 0.02005), (1.0, 1e-4)]:
        for seed in range(2):
            step = stepper.run(seed, progress)
            assert step.outcome.trust_region_radius == pytest.approx(limit, rel=1e-12)
            assert step.outcome.accepted
            assert 0.5 * limit < step.outcome.candidate_kl <= limit
            # The full step is already near a small limit.
            if progress == 1:
                assert step.outcome.backtracks <= 1
                assert step.max_kl_over_states > 0.6 * limit

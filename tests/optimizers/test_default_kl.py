"""The KL of a step, if no other is given: 0.01 nats for each dimension of an action."""

import pytest

from tf_trpo.optimizers import AdaptiveRadius, KLPenalty, NaturalPolicyGradient, TrustRegion

DIMENSIONS = {"categorical": 1, "fixed-std": 2}


@pytest.mark.parametrize("kind", DIMENSIONS)
def test_the_default_limit_grows_with_the_number_of_dimensions(make_stepper, kind):
    limit = 0.01 * DIMENSIONS[kind]
    default, given = (make_stepper(TrustRegion(max_kl), kind).run(0) for max_kl in (None, limit))
    assert default.outcome.trust_region_radius == limit
    assert (default.theta == given.theta).all()


def test_a_schedule_begins_at_the_default_limit(make_stepper):
    stepper = make_stepper(TrustRegion(final_max_kl=0.001))
    radii = [float(stepper.run(0, progress).outcome.trust_region_radius) for progress in (0.0, 0.5, 1.0)]
    assert radii == pytest.approx([0.02, 0.0105, 0.001])


@pytest.mark.parametrize(
    ("radius", "first"),
    [(AdaptiveRadius(), 0.02), (AdaptiveRadius(max_radius=0.015), 0.015), (AdaptiveRadius(0.03), 0.03)],
)
def test_a_radius_that_adapts_begins_at_the_default_limit_within_its_own(make_stepper, radius, first):
    assert make_stepper(TrustRegion(radius=radius)).run(0).outcome.trust_region_radius == first


@pytest.mark.parametrize(
    ("default", "given"),
    [
        (NaturalPolicyGradient(), NaturalPolicyGradient(natural_max_kl=0.02)),
        (KLPenalty(), KLPenalty(target_kl=0.02)),
    ],
)
def test_other_algorithms_aim_at_the_same(make_stepper, default, given):
    ends = []
    for optimizer in (default, given):
        stepper = make_stepper(optimizer)
        ends.append((stepper.run(0).theta.tolist(), [value.tolist() for value in stepper.state_values()]))
    assert ends[0] == ends[1]

"""The KL of a step, if no other is given: 0.01 nats for each dimension of an action."""

import pytest

from tf_trpo.optimizers import AdaptiveRadius, KLPenalty, NaturalPolicyGradient, TrustRegion


@pytest.mark.parametrize(("kind", "limit"), [("categorical", 0.01), ("fixed-std", 0.02)])
def test_the_default_limit_grows_with_the_number_of_dimensions(make_stepper, kind, limit):
    assert make_stepper(TrustRegion(), kind).run(0).outcome.trust_region_radius == limit


@pytest.mark.parametrize(
    ("default", "given"),
    [
        (TrustRegion(), TrustRegion(0.02)),
        (TrustRegion(final_max_kl=0.001), TrustRegion(0.02, final_max_kl=0.001)),
        (NaturalPolicyGradient(), NaturalPolicyGradient(natural_max_kl=0.02)),
        (KLPenalty(), KLPenalty(target_kl=0.02)),
        (TrustRegion(0.3), TrustRegion(0.3)),
        (NaturalPolicyGradient(natural_max_kl=0.3), NaturalPolicyGradient(natural_max_kl=0.3)),
        (KLPenalty(target_kl=0.3), KLPenalty(target_kl=0.3)),
    ],
    ids=str,
)
def test_every_algorithm_aims_at_it_unless_another_one_is_given(make_stepper, default, given):
    assert default.settled(make_stepper(default).policy.action_distribution) == given


@pytest.mark.parametrize(
    ("radius", "first"),
    [(AdaptiveRadius(), 0.02), (AdaptiveRadius(max_radius=0.015), 0.015), (AdaptiveRadius(0.03), 0.03)],
)
def test_a_radius_that_adapts_begins_at_the_default_limit_within_its_own(make_stepper, radius, first):
    stepper = make_stepper(TrustRegion(radius=radius))
    assert float(stepper.state.adapted) == first
    assert stepper.optimizer.settled(stepper.policy.action_distribution) == TrustRegion(first, radius=radius)

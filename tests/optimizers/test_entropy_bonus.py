"""The entropy bonus of the trust region against dense matrices, and how the figures name it."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.numerics import LineSearchStatus
from tf_trpo.optimizers import (
    AdaptiveRadius,
    ClippedSurrogate,
    EntropyBonus,
    NaturalDirection,
    TrustRegion,
)

COEFFICIENT = 0.5
BONUS = TrustRegion(0.02, direction=NaturalDirection(cg_iterations=60), entropy=EntropyBonus(COEFFICIENT))


def entropy_gradient(stepper, batch):
    """Of the mean entropy, by central differences of the closed form."""
    old = stepper.parameters(batch)
    return stepper.central_differences(lambda: stepper.figures(old, batch)["entropy"])


@pytest.mark.parametrize("kind", ["categorical", "fixed-std"])
def test_the_step_is_the_natural_one_of_surrogate_and_bonus(kind, make_stepper):
    stepper = make_stepper(BONUS, kind)
    batch, fisher, gradient = stepper.derivatives(3, padding=5)
    uphill = gradient + COEFFICIENT * entropy_gradient(stepper, batch)
    damped = fisher + 0.1 * np.eye(len(gradient))
    exact, without = np.linalg.solve(damped, uphill), np.linalg.solve(damped, gradient)
    old_entropy = stepper.figures(stepper.parameters(batch), batch)["entropy"]
    step = stepper.step(batch)

    def cosine(other):
        return step.change @ other / np.linalg.norm(step.change) / np.linalg.norm(other)

    assert cosine(exact) == pytest.approx(1, abs=1e-3)
    assert cosine(without) < 0.98
    outcome = step.outcome
    assert outcome.accepted
    assert outcome.kl <= 0.02
    # The surrogate's figures are the surrogate's alone.
    assert outcome.actual_improvement == pytest.approx(step.improvement, rel=3e-3, abs=1e-6)
    assert outcome.surrogate == pytest.approx(step.surrogate, rel=1e-4, abs=1e-5)
    assert outcome.predicted_improvement == pytest.approx(gradient @ step.change, rel=3e-3, abs=1e-6)
    assert outcome.gradient_norm == pytest.approx(np.linalg.norm(gradient), rel=1e-4)
    assert outcome.entropy_bonus == pytest.approx(COEFFICIENT * (step.entropy - old_entropy), rel=3e-3, abs=1e-6)
    assert outcome.candidate_improvement == pytest.approx(outcome.actual_improvement + outcome.entropy_bonus)
    assert outcome.cg_residual < 1e-3


def test_the_residual_is_that_of_surrogate_and_bonus(make_stepper):
    few = dataclasses.replace(BONUS, direction=NaturalDirection(cg_iterations=3))
    stepper = make_stepper(few, "categorical")
    batch, fisher, gradient = stepper.derivatives(3)
    uphill = gradient + COEFFICIENT * entropy_gradient(stepper, batch)
    damped = fisher + 0.1 * np.eye(len(gradient))
    step = stepper.step(batch)
    # The residual of conjugate gradient's solution x is orthogonal to x, which gives the length of x.
    solution = step.change * (step.change @ uphill) / (step.change @ damped @ step.change)
    residual = np.linalg.norm(uphill - damped @ solution) / np.linalg.norm(uphill)
    assert step.outcome.cg_residual == pytest.approx(residual, rel=1e-2)
    assert residual > 0.01


def test_the_line_search_judges_surrogate_and_bonus_together(make_stepper):
    """A large coefficient has the entropy rise in steps that cost surrogate, which are refused without a bonus."""
    large = TrustRegion(entropy=EntropyBonus(50.0))
    stepper = make_stepper(large, "categorical")
    costly = 0
    for seed in range(8):
        stepper.restart(seed)
        batch = stepper.batch(seed)
        before = stepper.figures(stepper.parameters(batch), batch)["entropy"]
        step = stepper.step(batch)
        assert step.outcome.accepted
        assert step.entropy > before
        costly += step.improvement < 0
        assert (step.improvement < 0) == (step.outcome.actual_improvement < 0)
    assert costly > 0


def test_a_refused_step_has_no_bonus_and_the_radius_follows_the_whole_objective(make_stepper):
    radius = AdaptiveRadius(0.0005, 0.05)
    stepper = make_stepper(TrustRegion(0.01, radius=radius, entropy=EntropyBonus(5.0)), "categorical")
    stepper.restart(0)
    batch = stepper.batch(0)
    gradient = stepper.gradient(batch) + 5.0 * entropy_gradient(stepper, batch)
    step = stepper.step(batch)
    ratio = (step.outcome.actual_improvement + step.outcome.entropy_bonus) / (gradient @ step.change)
    assert (float(stepper.state.adapted) > 0.01) == (ratio > radius.expand_above)
    refused = stepper.outcome(batch._replace(advantages=tf.fill([48], np.nan)))
    assert refused.line_search_status == LineSearchStatus.NO_DIRECTION
    assert refused.entropy_bonus == refused.actual_improvement == 0


@pytest.mark.parametrize("algorithm", [TrustRegion, ClippedSurrogate])
def test_a_distribution_without_a_closed_form_is_refused(algorithm, make_stepper, monkeypatch):
    policy = make_stepper(TrustRegion()).policy
    monkeypatch.setattr(policy.action_distribution, "entropy", lambda parameters: None)
    algorithm().make_state(policy)
    message = r"^entropy_coefficient must be 0 with Gaussian, which has no closed form of its entropy, got 0.1$"
    with pytest.raises(ValueError, match=message):
        algorithm(entropy=EntropyBonus(0.1)).make_state(policy)

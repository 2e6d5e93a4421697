"""A refused step: the reason is reported, and the weights stay as they were, bit for bit."""

import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.numerics import ConjugateGradientStatus, LineSearchStatus
from tf_trpo.optimizers import AdaptiveRadius, Backtracking, TrustRegion

FULL_STEP_ONLY = TrustRegion(100.0, radius=AdaptiveRadius(20.0, 1e12), search=Backtracking(max_backtracks=0))


def bits(policy):
    return [variable.numpy().tobytes() for variable in policy.weights]


def refused(stepper, batch):
    """The outcome of a step that must be refused."""
    before = bits(stepper.policy)
    outcome = stepper.outcome(batch)
    assert not outcome.accepted
    assert bits(stepper.policy) == before
    for name in ("predicted_improvement", "actual_improvement", "improvement_ratio", "kl", "step_norm"):
        assert getattr(outcome, name) == 0, name
    assert outcome.max_kl_over_states == pytest.approx(0, abs=1e-12)
    return outcome


def one_advantage(advantage):
    return lambda batch: batch._replace(advantages=tf.concat([batch.advantages[1:], [advantage]], axis=0))


@pytest.mark.parametrize(
    ("change", "cg_status"),
    [
        (lambda batch: batch._replace(advantages=tf.zeros(48)), ConjugateGradientStatus.CONVERGED),
        (lambda batch: batch._replace(weights=tf.zeros(48)), ConjugateGradientStatus.CONVERGED),
        *((one_advantage(advantage), ConjugateGradientStatus.BREAKDOWN) for advantage in (np.nan, np.inf)),
    ],
    ids=["no advantage", "no weights", "NaN", "infinite"],
)
def test_without_a_finite_gradient_there_is_no_direction(stepper, change, cg_status):
    stepper.restart(0)
    outcome = refused(stepper, change(stepper.batch(0)))
    assert outcome.line_search_status == LineSearchStatus.NO_DIRECTION
    assert outcome.cg_status == cg_status
    assert outcome.candidate_kl == outcome.candidate_improvement == outcome.backtracks == 0


@pytest.mark.parametrize("observation", [np.nan, np.inf])
def test_an_observation_that_is_not_finite_leaves_the_weights(stepper, observation):
    stepper.restart(0)
    batch = stepper.batch(0)
    observations = batch.observations.numpy().copy()
    observations[7, 1] = observation
    before = bits(stepper.policy)
    outcome = stepper.outcome(batch._replace(observations=tf.constant(observations)))
    assert outcome.accepted == (not np.isnan(observation))
    assert outcome.accepted == (bits(stepper.policy) != before)


def test_a_refused_candidate_is_reported_with_its_figures(make_stepper):
    """It is the full step of a trust region of 0.01, stretched by the square root of 100 / 0.01.

    The quadratic model sees 100 nats; the true KL of a shrinking std is far larger.
    """
    small, large = make_stepper(TrustRegion(0.01)), make_stepper(FULL_STEP_ONLY)
    accepted = small.run(3)
    small.restart(3)
    batch = small.batch(3)
    old = small.parameters(batch)
    stretch = 100 / small.optimizer.search.backtrack_ratio**accepted.outcome.backtracks
    small.assign(accepted.old_theta + stretch * (accepted.theta - accepted.old_theta))
    candidate = small.figures(old, batch)
    small.assign(accepted.old_theta)
    outcome = refused(large, batch)
    assert outcome.line_search_status == LineSearchStatus.KL_ABOVE_LIMIT
    assert outcome.backtracks == 0
    assert outcome.candidate_kl > 100
    assert outcome.candidate_kl == pytest.approx(candidate["kl"], rel=0.02)
    assert outcome.candidate_improvement == pytest.approx(candidate["improvement"], rel=0.02)


@pytest.mark.parametrize(
    ("seed", "radius", "status"),
    [*((seed, 100.0, LineSearchStatus.NO_IMPROVEMENT) for seed in (0, 1, 6)), (2, 1e12, LineSearchStatus.NOT_FINITE)],
)
def test_a_step_that_makes_the_surrogate_worse_or_not_finite_is_refused(seed, radius, status, make_stepper):
    stepper = make_stepper(FULL_STEP_ONLY)
    stepper.state.adapted.assign(radius)
    stepper.restart(seed)
    assert refused(stepper, stepper.batch(seed)).line_search_status == status

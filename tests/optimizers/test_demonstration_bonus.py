"""The demonstration bonus against dense matrices, step by step."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.optimizers import DemonstrationBonus, EntropyBonus, NaturalDirection, Shown, TrustRegion

WEIGHT, DECAY, SHOWN = 0.7, 0.5, 20
IMITATING = TrustRegion(0.02, direction=NaturalDirection(cg_iterations=60), imitation=DemonstrationBonus(WEIGHT, DECAY))


def shown_to(kind):
    """Samples of nobody in particular."""
    rng = np.random.default_rng(5)
    observations = rng.normal(size=(SHOWN, 3)).astype(np.float32)
    actions = rng.integers(4, size=SHOWN).astype(np.int32) if kind == "categorical" else rng.normal(size=(SHOWN, 2))
    return observations, actions if kind == "categorical" else 0.5 * actions.astype(np.float32)


def stepper_for(make_stepper, kind, optimizer=IMITATING, **settings):
    observations, actions = shown_to(kind)

    def make_state(policy):
        state = optimizer.make_state(policy)
        return dataclasses.replace(state, shown=Shown(tf.Variable(observations), tf.Variable(actions)))

    return make_stepper(optimizer, kind, make_state=make_state, **settings)


def mean_log_prob(stepper, kind):
    observations, actions = shown_to(kind)
    parameters = stepper.policy.distribution_parameters(observations).numpy().astype(np.float64)
    return stepper.closed_forms(parameters).log_prob(actions).mean()


def gradient_of_log_prob(stepper, kind):
    """By central differences of the closed form."""
    return stepper.central_differences(lambda: mean_log_prob(stepper, kind))


@pytest.mark.parametrize("kind", ["categorical", "fixed-std"])
def test_every_step_is_the_natural_one_of_surrogate_and_bonus_and_the_weight_decays(kind, make_stepper):
    stepper = stepper_for(make_stepper, kind)
    for step_number in range(3):
        batch, fisher, gradient = stepper.derivatives(step_number, padding=5)
        padding = batch.weights == 0
        batch = batch._replace(advantages=tf.where(padding, 1e6, batch.advantages))
        largest = max(float(tf.reduce_max(tf.where(padding, -np.inf, batch.advantages))), 0)
        weight = WEIGHT * DECAY**step_number * largest
        uphill = gradient + weight * gradient_of_log_prob(stepper, kind)
        before = mean_log_prob(stepper, kind)
        exact = np.linalg.solve(fisher + 0.1 * np.eye(len(gradient)), uphill)
        step = stepper.step(batch)
        cosine = step.change @ exact / np.linalg.norm(step.change) / np.linalg.norm(exact)
        assert cosine == pytest.approx(1, abs=2e-3)
        outcome = step.outcome
        assert outcome.accepted
        assert outcome.kl <= 0.02
        rise = mean_log_prob(stepper, kind) - before
        assert outcome.demonstration_bonus == pytest.approx(weight * rise, rel=3e-3, abs=1e-5)
        # The surrogate's figures are the surrogate's alone.
        assert outcome.actual_improvement == pytest.approx(step.improvement, rel=3e-3, abs=1e-5)
        assert outcome.predicted_improvement == pytest.approx(gradient @ step.change, rel=3e-3, abs=1e-5)
        assert outcome.candidate_improvement == pytest.approx(outcome.actual_improvement + outcome.demonstration_bonus)
        assert int(stepper.state.steps) == step_number + 1


@pytest.mark.parametrize("padding", [0, 3])
def test_without_an_advantage_above_0_nothing_is_imitated(padding, make_stepper):
    stepper = stepper_for(make_stepper, "categorical")
    batch = stepper.batch(4, padding=padding)
    step = stepper.step(batch._replace(advantages=-1.0 - tf.abs(batch.advantages)))
    assert step.outcome.demonstration_bonus == 0


def test_both_bonuses_add_up_and_chunks_change_nothing(make_stepper):
    both = dataclasses.replace(IMITATING, entropy=EntropyBonus(0.5))
    whole, chunked = (
        stepper_for(make_stepper, "categorical", both, chunk_size=size).run(2, padding=5) for size in (None, 7)
    )
    outcome = whole.outcome
    total = outcome.actual_improvement + outcome.entropy_bonus + outcome.demonstration_bonus
    assert outcome.candidate_improvement == pytest.approx(total)
    assert min(abs(outcome.entropy_bonus), abs(outcome.demonstration_bonus)) > 0
    assert np.linalg.norm(chunked.theta - whole.theta) < 0.01 * np.linalg.norm(whole.change)
    assert chunked.outcome.demonstration_bonus == pytest.approx(outcome.demonstration_bonus, rel=1e-2)


def test_a_refused_step_has_no_bonus(make_stepper):
    stepper = stepper_for(make_stepper, "categorical")
    stepper.restart(0)
    batch = stepper.batch(0)
    outcome = stepper.outcome(batch._replace(advantages=tf.fill([48], np.nan)))
    assert not outcome.accepted
    assert outcome.demonstration_bonus == outcome.actual_improvement == 0


def test_without_demonstrations_it_is_refused(make_stepper):
    assert IMITATING.imitates
    assert not TrustRegion().imitates
    with pytest.raises(ValueError, match="demonstration_weight must be 0 unless demonstrations are given"):
        make_stepper(IMITATING, "categorical").run(0)

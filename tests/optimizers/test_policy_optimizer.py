"""What every policy optimizer keeps to, whatever its algorithm."""

import functools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.numerics import ConjugateGradientStatus, LineSearchStatus
from tf_trpo.optimizers import KLPenalty, NaturalPolicyGradient, PolicyOptimizer, TrustRegion, VanillaPolicyGradient

ALGORITHMS = {
    "trust region": lambda: TrustRegion(0.02),
    "vanilla policy gradient": lambda: VanillaPolicyGradient(keras.optimizers.SGD(0.3, momentum=0.5)),
    "vanilla policy gradient by Adam": lambda: VanillaPolicyGradient(keras.optimizers.Adam(0.02)),
    "natural policy gradient": lambda: NaturalPolicyGradient(0.2),
    "truncated natural policy gradient": lambda: NaturalPolicyGradient(max_kl=0.02),
    "KL penalty by natural steps": lambda: KLPenalty("fixed", penalty_coefficient=3.0),
    "KL penalty by natural steps, adapted": lambda: KLPenalty(),
    "KL penalty by natural steps, theory": lambda: KLPenalty("theory", gamma=0.5),
    "KL penalty by first-order steps": lambda: KLPenalty(
        penalty_solver="first-order", penalty_minibatch_size=20, optimizer=keras.optimizers.Adam(0.003)
    ),
    "trust region on the largest KL": lambda: TrustRegion(0.02, constraint="max", max_backtracks=20),
    "trust region that adapts": lambda: TrustRegion(0.02, radius="adaptive"),
}
WITHOUT_LINE_SEARCH = [
    name for name in ALGORITHMS if "trust region" not in name and "KL penalty by natural" not in name
]


@pytest.fixture(scope="module")
def stepper_of(make_stepper_of):
    """stepper_of(name, kind): traced once, and as if just made."""

    @functools.cache
    def made(name, kind):
        return make_stepper_of(ALGORITHMS[name](), kind)

    return lambda name, kind="fixed-std": made(name, kind).forget()


def recomputed(figure):
    """Within what a second run of the float32 network may differ by."""
    return pytest.approx(figure, rel=3e-3, abs=1e-9)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_figure_is_that_of_the_weights_left_behind(name, kind, stepper_of):
    stepper = stepper_of(name, kind)
    for seed in range(2):
        stepper.restart(seed)
        batch = stepper.batch(seed, padding=5)
        gradient = stepper.gradient(batch)
        step = stepper.step(batch)
        outcome = step.outcome
        change = step.theta.astype(np.float64) - step.old_theta
        assert outcome.accepted
        assert np.linalg.norm(change) > 0
        assert outcome.kl == recomputed(step.kl)
        assert outcome.candidate_kl == (outcome.max_kl_over_states if "largest" in name else outcome.kl)
        assert outcome.max_kl_over_states == recomputed(step.max_kl_over_states)
        assert outcome.actual_improvement == outcome.candidate_improvement == recomputed(step.improvement)
        assert outcome.surrogate == pytest.approx(step.surrogate, rel=1e-4, abs=1e-4)
        assert outcome.entropy == recomputed(step.entropy)
        assert outcome.gradient_norm == recomputed(np.linalg.norm(gradient))
        assert outcome.step_norm == recomputed(np.linalg.norm(change))
        assert outcome.predicted_improvement == recomputed(gradient @ change)


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("advantage", [np.nan, np.inf])
def test_an_advantage_that_is_not_finite_leaves_weights_and_state_bit_for_bit(name, advantage, stepper_of):
    stepper = stepper_of(name, "categorical")
    stepper.restart(0)
    stepper.step(stepper.batch(0))
    batch = stepper.batch(1)
    advantages = batch.advantages.numpy().copy()
    advantages[7] = advantage
    state = [variable.numpy() for variable in stepper.optimizer.variables]
    theta = stepper.theta()
    outcome = stepper.outcome(batch._replace(advantages=tf.constant(advantages)))
    assert not outcome.accepted
    np.testing.assert_array_equal(stepper.theta(), theta)
    assert outcome.kl == outcome.step_norm == outcome.predicted_improvement == 0
    for variable, value in zip(stepper.optimizer.variables, state, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.parametrize("name", WITHOUT_LINE_SEARCH)
def test_without_a_line_search_its_figures_are_neutral(name, stepper_of):
    outcome = stepper_of(name).run(0).outcome
    assert outcome.line_search_status == LineSearchStatus.NOT_USED
    assert outcome.backtracks == 0
    if "natural" not in name:
        assert outcome.cg_status == ConjugateGradientStatus.NOT_USED
        assert outcome.cg_iterations == outcome.cg_residual == 0
    else:
        assert outcome.cg_status != ConjugateGradientStatus.NOT_USED
        assert outcome.cg_iterations > 0


HUGE_STEPS = {
    "vanilla policy gradient": lambda: VanillaPolicyGradient(keras.optimizers.SGD(1e30, momentum=0.5)),
    "vanilla policy gradient by Adam": lambda: VanillaPolicyGradient(keras.optimizers.Adam(1e30)),
    "natural policy gradient": lambda: NaturalPolicyGradient(1e30),
    "KL penalty by first-order steps": lambda: KLPenalty(
        "fixed", penalty_solver="first-order", optimizer=keras.optimizers.Adam(1e30)
    ),
}


def test_a_gradient_whose_square_overflows_does_not_stay_in_the_moments(make_stepper_of):
    stepper = make_stepper_of(VanillaPolicyGradient("adam"))
    stepper.restart(0)
    state = [variable.numpy() for variable in stepper.optimizer.variables]
    outcome = stepper.outcome(stepper.batch(0, scale=1e25))
    assert not outcome.accepted
    for variable, value in zip(stepper.optimizer.variables, state, strict=True):
        np.testing.assert_array_equal(variable, value)
    assert stepper.outcome(stepper.batch(0)).accepted


@pytest.mark.parametrize("name", HUGE_STEPS)
def test_a_step_that_makes_the_policy_not_finite_is_taken_back_with_its_state(name, make_stepper_of):
    stepper = make_stepper_of(HUGE_STEPS[name]())
    state = [variable.numpy() for variable in stepper.optimizer.variables]
    step = stepper.run(0)
    for variable, value in zip(stepper.optimizer.variables, state, strict=True):
        np.testing.assert_array_equal(variable, value)
    assert not step.outcome.accepted
    assert step.outcome.line_search_status == LineSearchStatus.NOT_FINITE
    np.testing.assert_array_equal(step.theta, step.old_theta)
    assert step.outcome.max_kl_over_states == step.outcome.kl == 0
    assert step.outcome.entropy == recomputed(step.entropy)


# One for each of what they ask of the objective: figures, products, minibatches.
@pytest.mark.parametrize(
    "name", ["vanilla policy gradient", "trust region on the largest KL", "KL penalty by first-order steps"]
)
def test_chunks_give_the_same_step_to_rounding(name, stepper_of, make_stepper_of):
    whole = stepper_of(name).run(2, padding=5)
    chunked = make_stepper_of(ALGORITHMS[name](), chunk_size=13).run(2, padding=5)
    change = whole.theta - whole.old_theta
    assert np.linalg.norm(chunked.theta - whole.theta) < 0.01 * np.linalg.norm(change)
    assert chunked.outcome.kl == pytest.approx(whole.outcome.kl, rel=0.02)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_garbage_in_rows_of_weight_zero_changes_nothing(name, stepper_of):
    thetas = []
    for garbage in (1.0, 1e9):
        stepper = stepper_of(name, "categorical")
        stepper.restart(1)
        batch = stepper.batch(1, padding=20)
        advantages = tf.where(batch.weights > 0, batch.advantages, garbage)
        thetas.append(stepper.step(batch._replace(advantages=advantages)).theta)
    np.testing.assert_array_equal(*thetas)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_optimizer_is_made_again_from_its_config(name):
    optimizer = ALGORITHMS[name]()
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(optimizer)))
    copy = keras.saving.deserialize_keras_object(config)
    assert type(copy) is type(optimizer)
    assert copy.get_config() == optimizer.get_config()
    assert type(optimizer).from_config(optimizer.get_config()).get_config() == optimizer.get_config()


@pytest.mark.parametrize("name", ["vanilla policy gradient", "KL penalty by natural steps, adapted"])
def test_an_optimizer_made_from_its_config_takes_the_same_step(name, stepper_of, make_stepper_of):
    optimizer = ALGORITHMS[name]()
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    np.testing.assert_array_equal(make_stepper_of(copy).run(3).theta, stepper_of(name).run(3).theta)


def test_building_twice_makes_no_second_state(make_stepper_of):
    stepper = make_stepper_of(VanillaPolicyGradient("adam"))
    before = [id(variable) for variable in stepper.optimizer.variables]
    stepper.optimizer.build(stepper.policy)
    assert [id(variable) for variable in stepper.optimizer.variables] == before
    assert len(before) > 2


@pytest.mark.parametrize("name", ["vanilla policy gradient by Adam", "trust region that adapts"])
def test_a_state_is_of_one_policy(name, make_stepper_of):
    optimizer = ALGORITHMS[name]()
    make_stepper_of(optimizer)
    with pytest.raises(ValueError, match="has the state of another policy"):
        make_stepper_of(optimizer)


def test_without_a_state_an_optimizer_serves_any_policy(make_stepper_of):
    optimizer = NaturalPolicyGradient()
    assert all(make_stepper_of(optimizer, kind).run(0).outcome.accepted for kind in ("fixed-std", "categorical"))


def test_without_build_and_variables_there_is_no_state():
    assert TrustRegion().variables == NaturalPolicyGradient().variables == []


def test_the_base_class_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        PolicyOptimizer()

"""What every policy optimizer keeps to, whatever its algorithm."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.numerics import ConjugateGradientStatus, LineSearchStatus
from tf_trpo.optimizers import (
    AdaptiveRadius,
    Backtracking,
    FirstOrder,
    KLPenalty,
    NaturalPolicyGradient,
    PolicyOptimizer,
    Proposal,
    TrustRegion,
    VanillaPolicyGradient,
    without_line_search,
)

ALGORITHMS = {
    "trust region": TrustRegion(0.02),
    "vanilla policy gradient": VanillaPolicyGradient("sgd", 0.3),
    "vanilla policy gradient by Adam": VanillaPolicyGradient("adam", 0.02),
    "natural policy gradient": NaturalPolicyGradient(0.2),
    "truncated natural policy gradient": NaturalPolicyGradient(natural_max_kl=0.02),
    "KL penalty by natural steps": KLPenalty("fixed", penalty_coefficient=3.0),
    "KL penalty by natural steps, adapted": KLPenalty(),
    "KL penalty by natural steps, theory": KLPenalty("theory"),
    "KL penalty by first-order steps": KLPenalty(penalty_solver="first-order", first_order=FirstOrder(10, 20, 0.003)),
    "trust region on the largest KL": TrustRegion(0.02, constraint="max", search=Backtracking(max_backtracks=20)),
    "trust region that adapts": TrustRegion(0.02, radius=AdaptiveRadius()),
    "trust region on a schedule": TrustRegion(0.04, final_max_kl=0.01),
}
WITHOUT_LINE_SEARCH = [
    name for name in ALGORITHMS if "trust region" not in name and "KL penalty by natural" not in name
]


@pytest.fixture
def stepper_of(make_stepper):
    """stepper_of(name, kind): at the start of its state."""
    return lambda name, kind="fixed-std", **settings: make_stepper(ALGORITHMS[name], kind, gamma=0.5, **settings)


def assert_same(arrays, expected):
    """The same bits."""
    for array, value in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(array, value)


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
        statistics = [variable.numpy() for variable in stepper.policy.encoder.normalization[0].weights]
        step = stepper.step(batch)
        assert_same(stepper.policy.encoder.normalization[0].weights, statistics)
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
        assert outcome.improvement_ratio == pytest.approx(outcome.actual_improvement / outcome.predicted_improvement)
        assert all(np.ndim(value) == 0 for value in outcome if value is not None)


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("advantage", [np.nan, np.inf])
def test_an_advantage_that_is_not_finite_leaves_weights_and_state_bit_for_bit(name, advantage, stepper_of):
    stepper = stepper_of(name, "categorical")
    stepper.restart(0)
    stepper.step(stepper.batch(0))
    batch = stepper.batch(1)
    advantages = batch.advantages.numpy().copy()
    advantages[7] = advantage
    state = stepper.state_values()
    theta = stepper.theta()
    outcome = stepper.outcome(batch._replace(advantages=tf.constant(advantages)))
    assert not outcome.accepted
    np.testing.assert_array_equal(stepper.theta(), theta)
    assert outcome.kl == outcome.step_norm == outcome.predicted_improvement == 0
    assert_same(stepper.state_values(), state)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_an_algorithm_does_not_have_is_none(name, stepper_of):
    outcome = stepper_of(name).run(0).outcome
    searched = name not in WITHOUT_LINE_SEARCH
    assert (outcome.line_search_status == LineSearchStatus.NOT_USED) == (not searched)
    natural = "vanilla" not in name and "first-order" not in name
    exists = {
        "backtracks": searched,
        "cg_status": natural,
        "cg_iterations": natural,
        "cg_residual": natural,
        "trust_region_radius": "trust region" in name,
        "penalty_coefficient": "penalty" in name,
    }
    absent = {field for field, value in outcome._asdict().items() if value is None}
    assert absent == {field for field, there in exists.items() if not there}
    if natural:
        assert outcome.cg_iterations > 0
        assert outcome.cg_status in (ConjugateGradientStatus.CONVERGED, ConjugateGradientStatus.MAX_ITERATIONS)


HUGE_STEPS = {
    "vanilla policy gradient": VanillaPolicyGradient("sgd", 1e30),
    "vanilla policy gradient by Adam": VanillaPolicyGradient("adam", 1e30),
    "natural policy gradient": NaturalPolicyGradient(1e30),
    "KL penalty by first-order steps": KLPenalty(
        "fixed", penalty_solver="first-order", first_order=FirstOrder(penalty_learning_rate=1e30)
    ),
}


def test_a_gradient_whose_square_overflows_does_not_stay_in_the_moments(make_stepper):
    stepper = make_stepper(VanillaPolicyGradient("adam"))
    stepper.restart(0)
    state = stepper.state_values()
    outcome = stepper.outcome(stepper.batch(0, scale=1e25))
    assert not outcome.accepted
    assert_same(stepper.state_values(), state)
    assert stepper.outcome(stepper.batch(0)).accepted


@pytest.mark.parametrize("name", HUGE_STEPS)
def test_a_step_that_makes_the_policy_not_finite_is_taken_back_with_its_state(name, make_stepper):
    stepper = make_stepper(HUGE_STEPS[name])
    state = stepper.state_values()
    step = stepper.run(0)
    assert_same(stepper.state_values(), state)
    assert not step.outcome.accepted
    assert step.outcome.line_search_status == LineSearchStatus.NOT_FINITE
    np.testing.assert_array_equal(step.theta, step.old_theta)
    assert step.outcome.max_kl_over_states == step.outcome.kl == 0
    assert step.outcome.entropy == recomputed(step.entropy)


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if "adapt" in name or "theory" in name])
def test_without_any_advantage_nothing_moves(name, stepper_of):
    stepper = stepper_of(name)
    stepper.restart(0)
    state = stepper.state_values()
    step = stepper.step(stepper.batch(0, scale=0.0))
    assert not step.outcome.accepted
    np.testing.assert_array_equal(step.theta, step.old_theta)
    assert_same(stepper.state_values(), state)


def slow(*case):
    return pytest.param(*case, marks=pytest.mark.slow)


# One for each of what they ask of the objective: figures, products, minibatches.
@pytest.mark.parametrize(
    ("name", "kind", "chunk_size", "jit_compile"),
    [
        ("vanilla policy gradient", "fixed-std", 13, False),
        ("trust region on the largest KL", "fixed-std", 13, False),
        ("KL penalty by first-order steps", "fixed-std", 13, False),
        ("trust region", "categorical", 1, False),
        slow("trust region", "state-dependent", 20, False),
        slow("trust region", "fixed-std", 7, True),
    ],
    indirect=["kind"],
)
def test_chunks_give_the_same_step_to_rounding(name, kind, chunk_size, jit_compile, stepper_of):
    whole = stepper_of(name, kind).run(2, padding=5)
    chunked = stepper_of(name, kind, chunk_size=chunk_size, jit_compile=jit_compile).run(2, padding=5)
    assert chunked.outcome.backtracks == whole.outcome.backtracks
    assert np.linalg.norm(chunked.theta - whole.theta) < 0.01 * np.linalg.norm(whole.theta - whole.old_theta)
    for figure in ("kl", "surrogate", "entropy", "max_kl_over_states"):
        assert getattr(chunked.outcome, figure) == recomputed(getattr(chunked, figure))
    assert chunked.outcome.actual_improvement == recomputed(chunked.improvement)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_garbage_in_rows_of_weight_zero_changes_not_one_bit(name, kind, stepper_of):
    stepper = stepper_of(name, kind)
    stepper.restart(1)
    clean = stepper.batch(1, padding=20)
    padding = clean.weights == 0
    discrete = clean.actions.dtype == tf.int32
    garbage = clean._replace(
        observations=tf.where(padding[:, None], 1e6 * clean.observations, clean.observations),
        actions=tf.where(padding if discrete else padding[:, None], 0 if discrete else 1e4, clean.actions),
        advantages=tf.where(padding, 1e9, clean.advantages),
    )
    expected = stepper.step(clean)
    stepper.forget().restart(1)
    step = stepper.step(garbage)
    assert step.outcome.accepted
    np.testing.assert_array_equal(step.theta, expected.theta)
    assert step.outcome == expected.outcome


@pytest.mark.parametrize(
    ("name", "jit_compile"),
    [*((name, False) for name in ALGORITHMS), ("trust region", True), *(slow(name, True) for name in ALGORITHMS)],
)
def test_a_step_is_repeated_to_the_bit_and_by_xla_to_rounding(name, jit_compile, stepper_of):
    plain = stepper_of(name).run(4, progress=0.25, padding=5)
    first, again = (stepper_of(name, jit_compile=jit_compile).run(4, progress=0.25, padding=5) for _ in range(2))
    assert first.outcome.accepted
    np.testing.assert_array_equal(first.theta, again.theta)
    assert first.outcome == again.outcome
    assert np.linalg.norm(first.theta - plain.theta) < 0.01 * np.linalg.norm(plain.theta - plain.old_theta)
    assert first.outcome.kl == pytest.approx(plain.outcome.kl, rel=0.02)
    assert first.outcome.trust_region_radius == plain.outcome.trust_region_radius


@pytest.mark.parametrize(
    ("optimizer", "variables"),
    [
        (TrustRegion(), 0),
        (TrustRegion(radius=AdaptiveRadius()), 1),
        (NaturalPolicyGradient(), 0),
        (KLPenalty("fixed"), 0),
        (KLPenalty("adaptive"), 1),
        # Iterations and learning rate, and for Adam two moments for each of five weights.
        (VanillaPolicyGradient("sgd"), 2),
        (VanillaPolicyGradient("adam"), 2 + 2 * 5),
        (KLPenalty("adaptive", penalty_solver="first-order"), 1 + 2 + 2 * 5),
    ],
)
def test_the_state_is_what_changes_from_step_to_step(optimizer, variables, make_stepper):
    policy = make_stepper(TrustRegion()).policy
    first, second = optimizer.make_state(policy), optimizer.make_state(policy)
    assert len(first.variables) == variables
    # One value serves any number of agents.
    assert not {id(variable) for variable in first.variables} & {id(variable) for variable in second.variables}


@dataclasses.dataclass(frozen=True)
class SignedGradient(PolicyOptimizer):
    """An algorithm that a user writes."""

    size: float = 0.01

    def propose(self, objective, state, progress):
        gradient = objective.gradient()
        length = self.size * (1 - tf.cast(progress, gradient.dtype)) * objective.gamma
        return Proposal(gradient, without_line_search(objective, objective.theta + length * tf.sign(gradient)))


def test_an_algorithm_of_ones_own_defines_what_it_proposes(make_stepper):
    stepper = make_stepper(SignedGradient(), gamma=0.5)
    stepper.restart(1)
    batch = stepper.batch(1)
    gradient = stepper.gradient(batch)
    step = stepper.step(batch, progress=0.5)
    assert step.outcome.accepted
    assert step.outcome.kl == recomputed(step.kl)
    np.testing.assert_allclose(step.theta - step.old_theta, 0.0025 * np.sign(gradient), rtol=1e-3)
    assert SignedGradient.from_config(SignedGradient(0.5).get_config()) == SignedGradient(0.5)


@pytest.mark.parametrize("name", ["trust region", "KL penalty by natural steps", "vanilla policy gradient"])
@pytest.mark.parametrize("chunk_size", [None, 20])
def test_without_an_entropy_the_step_is_the_same(name, chunk_size, stepper_of, monkeypatch):
    expected = stepper_of(name, chunk_size=chunk_size).run(0)
    stepper = stepper_of(name, chunk_size=chunk_size, make_state=lambda policy: ALGORITHMS[name].make_state(policy))
    monkeypatch.setattr(stepper.policy.action_distribution, "entropy", lambda parameters: None)
    step = stepper.run(0)
    assert step.outcome.entropy is None
    assert step.outcome == expected.outcome._replace(entropy=None)
    np.testing.assert_array_equal(step.theta, expected.theta)

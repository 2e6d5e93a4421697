"""What every policy optimizer keeps to, whatever its algorithm."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.numerics import ConjugateGradientStatus, LineSearchStatus
from tf_trpo.optimizers import (
    AdaptiveRadius,
    Backtracking,
    ClippedSurrogate,
    EntropyBonus,
    FirstOrder,
    KLPenalty,
    NaturalDirection,
    NaturalPolicyGradient,
    PolicyOptimizer,
    Proposal,
    TrustRegion,
    VanillaPolicyGradient,
    without_line_search,
)

# Equal ones in other files have the same traced step.
MANY = NaturalDirection(cg_iterations=60)
FIXED_STD = {
    "trust region": TrustRegion(),
    "vanilla policy gradient": VanillaPolicyGradient("sgd", 2.0),
    "vanilla policy gradient by Adam": VanillaPolicyGradient(),
    "natural policy gradient": NaturalPolicyGradient(0.3, direction=NaturalDirection(60, cg_damping=0.2)),
    "KL penalty by first-order steps": KLPenalty(penalty_solver="first-order", first_order=FirstOrder(10, 20, 0.003)),
    "clipped surrogate by first-order steps": ClippedSurrogate(
        0.2, 4, 20, 0.003, ppo_target_kl=0.05, entropy=EntropyBonus(0.01)
    ),
    "KL penalty by natural steps, theory": KLPenalty("theory"),
    "trust region that adapts": TrustRegion(0.001, radius=AdaptiveRadius(0.0002, 0.003)),
}
CATEGORICAL = {
    "truncated natural policy gradient": NaturalPolicyGradient(natural_max_kl=0.03, direction=MANY),
    "KL penalty by natural steps": KLPenalty("fixed", penalty_coefficient=4.0, direction=MANY),
    "KL penalty by natural steps, adapted": KLPenalty(target_kl=10.0, search=Backtracking(0.5, max_backtracks=12)),
    "trust region on the largest KL": TrustRegion(0.02, constraint="max", search=Backtracking(max_backtracks=20)),
    "trust region on a schedule": TrustRegion(0.04, final_max_kl=0.01),
}
ALGORITHMS = FIXED_STD | CATEGORICAL
WITHOUT_LINE_SEARCH = [
    name for name in ALGORITHMS if "trust region" not in name and "KL penalty by natural" not in name
]


@pytest.fixture
def stepper_of(make_stepper):
    """stepper_of(name, kind): at the start of its state."""

    def make(name, kind=None, **settings):
        return make_stepper(ALGORITHMS[name], kind or ("fixed-std" if name in FIXED_STD else "categorical"), **settings)

    return make


def slow(*case):
    return pytest.param(*case, marks=pytest.mark.slow)


every_algorithm = pytest.mark.parametrize("name", ALGORITHMS)
every_algorithm_and_kind = pytest.mark.parametrize(
    ("name", "kind"),
    [case for name in ALGORITHMS for case in ((name, None), slow(name, "state-dependent"))],
)


def assert_same(arrays, expected):
    """The same bits."""
    for array, value in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(array, value)


def recomputed(figure):
    """Within what a second run of the float32 network may differ by."""
    return pytest.approx(figure, rel=3e-3, abs=1e-9)


@every_algorithm_and_kind
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
        assert outcome.accepted
        assert np.linalg.norm(step.change) > 0
        assert outcome.kl == recomputed(step.kl)
        assert outcome.candidate_kl == (outcome.max_kl_over_states if "largest" in name else outcome.kl)
        assert outcome.max_kl_over_states == recomputed(step.max_kl_over_states)
        assert outcome.actual_improvement == outcome.candidate_improvement == recomputed(step.improvement)
        assert outcome.surrogate == pytest.approx(step.surrogate, rel=1e-4, abs=1e-4)
        assert outcome.entropy == recomputed(step.entropy)
        assert outcome.gradient_norm == recomputed(np.linalg.norm(gradient))
        assert outcome.step_norm == recomputed(np.linalg.norm(step.change))
        assert outcome.predicted_improvement == recomputed(gradient @ step.change)
        assert outcome.improvement_ratio == pytest.approx(outcome.actual_improvement / outcome.predicted_improvement)
        assert all(np.ndim(value) == 0 for value in outcome if value is not None)
        assert_only_what_the_algorithm_has(name, outcome)


def assert_only_what_the_algorithm_has(name, outcome):
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
        "entropy_bonus": False,
        "demonstration_bonus": False,
        **dict.fromkeys(("restores", "anchor_kl", "cost_changes", "cost_margins", "multipliers"), False),
    }
    absent = {field for field, value in outcome._asdict().items() if value is None}
    assert absent == {field for field, there in exists.items() if not there}
    if natural:
        assert outcome.cg_iterations > 0
        assert outcome.cg_status in (ConjugateGradientStatus.CONVERGED, ConjugateGradientStatus.MAX_ITERATIONS)


def with_one(advantage):
    return lambda batch: batch._replace(advantages=tf.concat([batch.advantages[1:], [advantage]], axis=0))


@every_algorithm
def test_without_a_finite_gradient_weights_and_state_stay_bit_for_bit(name, stepper_of):
    stepper = stepper_of(name)
    stepper.restart(0)
    stepper.step(stepper.batch(0))
    state, theta = stepper.state_values(), stepper.theta()
    changes = [with_one(np.nan), with_one(np.inf)]
    if "vanilla" not in name and "first-order" not in name:
        # Adam's moments would still move the parameters.
        changes.append(lambda batch: batch._replace(advantages=tf.zeros(48)))
    for change in changes:
        outcome = stepper.outcome(change(stepper.batch(1)))
        assert not outcome.accepted
        np.testing.assert_array_equal(stepper.theta(), theta)
        assert outcome.kl == outcome.step_norm == outcome.predicted_improvement == 0
        assert_same(stepper.state_values(), state)


def test_a_gradient_whose_square_overflows_does_not_stay_in_the_moments(stepper_of):
    stepper = stepper_of("vanilla policy gradient by Adam")
    stepper.restart(0)
    state = stepper.state_values()
    outcome = stepper.outcome(stepper.batch(0, scale=1e25))
    assert not outcome.accepted
    assert_same(stepper.state_values(), state)
    assert stepper.outcome(stepper.batch(0)).accepted


@pytest.mark.parametrize("name", [name for name in WITHOUT_LINE_SEARCH if name in FIXED_STD])
def test_a_step_that_makes_the_policy_not_finite_is_taken_back_with_its_state(name, stepper_of):
    stepper = stepper_of(name)
    if stepper.state.optimizer is None:
        step = stepper.run(0, scale=1e17)
    else:
        stepper.state.optimizer.learning_rate.assign(1e30)
        state = [variable.numpy() for variable in stepper.state.optimizer.variables]
        step = stepper.run(0)
        assert_same([variable.numpy() for variable in stepper.state.optimizer.variables], state)
    assert not step.outcome.accepted
    assert step.outcome.line_search_status == LineSearchStatus.NOT_FINITE
    np.testing.assert_array_equal(step.theta, step.old_theta)
    assert step.outcome.max_kl_over_states == step.outcome.kl == 0
    assert step.outcome.entropy == recomputed(step.entropy)


# Figures and products, and minibatches.
@pytest.mark.parametrize(
    ("name", "kind", "chunk_size", "jit_compile"),
    [
        ("trust region on the largest KL", None, 13, False),
        ("KL penalty by first-order steps", None, 13, False),
        ("clipped surrogate by first-order steps", None, 13, False),
        slow("trust region", "state-dependent", 20, False),
        slow("trust region", "fixed-std", 7, True),
    ],
)
def test_chunks_give_the_same_step_to_rounding(name, kind, chunk_size, jit_compile, stepper_of):
    whole = stepper_of(name, kind).run(2, padding=5)
    chunked = stepper_of(name, kind, chunk_size=chunk_size, jit_compile=jit_compile).run(2, padding=5)
    assert chunked.outcome.backtracks == whole.outcome.backtracks
    assert np.linalg.norm(chunked.theta - whole.theta) < 0.01 * np.linalg.norm(whole.change)
    for figure in ("kl", "surrogate", "entropy", "max_kl_over_states"):
        assert getattr(chunked.outcome, figure) == recomputed(getattr(chunked, figure))
    assert chunked.outcome.actual_improvement == recomputed(chunked.improvement)


@every_algorithm_and_kind
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


@pytest.mark.slow
@every_algorithm
def test_xla_gives_the_same_step_to_rounding(name, stepper_of):
    plain = stepper_of(name, "fixed-std").run(4, progress=0.25, padding=5)
    first, again = (stepper_of(name, "fixed-std", jit_compile=True).run(4, 0.25, padding=5) for _ in range(2))
    assert first.outcome.accepted
    np.testing.assert_array_equal(first.theta, again.theta)
    assert first.outcome == again.outcome
    assert np.linalg.norm(first.theta - plain.theta) < 0.01 * np.linalg.norm(plain.change)
    assert first.outcome.kl == pytest.approx(plain.outcome.kl, rel=0.02)
    assert first.outcome.trust_region_radius == plain.outcome.trust_region_radius


@pytest.mark.parametrize(
    ("optimizer", "variables"),
    [
        (TrustRegion(), 0),
        (TrustRegion(radius=AdaptiveRadius()), 1),
        (KLPenalty("fixed"), 0),
        # Iterations and learning rate, and for Adam two moments for each of five weights.
        (VanillaPolicyGradient("sgd"), 2),
        (VanillaPolicyGradient("adam"), 2 + 2 * 5),
        (KLPenalty("adaptive", penalty_solver="first-order"), 1 + 2 + 2 * 5),
        (ClippedSurrogate(), 2 + 2 * 5),
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
    np.testing.assert_allclose(step.change, 0.0025 * np.sign(gradient), rtol=1e-3)
    assert SignedGradient.from_config(SignedGradient(0.5).get_config()) == SignedGradient(0.5)


def test_arrays_and_doubles_are_taken_and_weights_with_another_sum_are_refused(make_stepper):
    optimizer, small = TrustRegion(), make_stepper(TrustRegion()).small
    small.restart(1)
    theta, batch = small.theta(), small.batch(1, samples=16)

    def step(batch):
        small.assign(theta)
        optimizer.step(small.policy, batch, optimizer.make_state(small.policy), progress=0.0, gamma=0.9)
        return small.theta()

    arrays = batch._replace(**{name: getattr(batch, name).numpy() for name in ("observations", "actions")})
    arrays = arrays._replace(advantages=np.float64(batch.advantages), weights=np.full(16, 1 / 16))
    np.testing.assert_array_equal(step(arrays), step(batch))
    doubles = {name: tf.cast(getattr(batch, name), tf.float64) for name in ("advantages", "weights")}
    np.testing.assert_array_equal(step(batch._replace(**doubles)), step(batch))
    assert np.any(step(arrays) != theta)
    np.testing.assert_array_equal(step(batch._replace(weights=tf.zeros(16))), theta)
    for weights in (tf.ones(16), np.full(16, 0.1), tf.fill([16], np.nan)):
        with pytest.raises(ValueError, match=r"^weights: their sum must be 1, such as 1/n for each of n samples"):
            step(batch._replace(weights=weights))


@pytest.mark.parametrize(
    ("name", "chunk_size"),
    [("trust region on the largest KL", 13), ("KL penalty by natural steps", None), ("vanilla policy gradient", None)],
)
def test_without_an_entropy_the_step_is_the_same(name, chunk_size, stepper_of, monkeypatch):
    expected = stepper_of(name, chunk_size=chunk_size).run(0)
    stepper = stepper_of(name, chunk_size=chunk_size, make_state=lambda policy: ALGORITHMS[name].make_state(policy))
    monkeypatch.setattr(stepper.policy.action_distribution, "entropy", lambda parameters: None)
    step = stepper.run(0)
    assert step.outcome.entropy is None
    assert step.outcome == expected.outcome._replace(entropy=None)
    np.testing.assert_array_equal(step.theta, expected.theta)

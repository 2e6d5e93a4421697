"""Constrained steps, compared with a linear programme over occupancy measures and with figures in NumPy."""

import functools

import keras
import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf

from tf_trpo.distributions import Categorical
from tf_trpo.estimation import Batch, Costs
from tf_trpo.learning import UpdateSettings
from tf_trpo.learning.numbers import Numbers
from tf_trpo.models import Encoder, Policy
from tf_trpo.optimizers import (
    ConstrainedTrustRegion,
    EntropyBonus,
    LagrangianTrustRegion,
    NaturalDirection,
    TrustRegion,
)
from tf_trpo.theory import FiniteMDP, random_mdp

S, A, GAMMA = 4, 3, 0.8
LENGTH = 1 / (1 - GAMMA)
EXACT = NaturalDirection(cg_damping=1e-5, cg_iterations=60)


class ConstrainedMDP:
    """A random MDP with costs, with exact values, visits and best policy within limits."""

    def __init__(self, seed, num_costs):
        rng = np.random.default_rng(seed)
        self.mdp = random_mdp(S, A, GAMMA, rng)
        self.costs = [
            FiniteMDP(self.mdp.transitions, rng.uniform(size=(S, A)), self.mdp.initial, GAMMA) for _ in range(num_costs)
        ]

    def limits(self):
        """Return limits: halfway from the least first cost to the unlimited policy's; 1.02 times its other costs."""
        first = self.costs[0]
        cheapest = FiniteMDP(first.transitions, -first.rewards, first.initial, GAMMA)
        _, free = self.solve([np.inf] * len(self.costs))
        least = -best_return(cheapest, [], [])[0]
        return [(least + free[0]) / 2, *(1.02 * cost for cost in free[1:])]

    def solve(self, limits):
        return best_return(self.mdp, self.costs, limits)


def best_return(mdp, costs, limits):
    """Maximise the return over occupancy measures by a linear programme; an infinite limit means no limit."""
    pairs = [(s, a) for s in range(S) for a in range(A)]
    flow = [[(s == to) - GAMMA * mdp.transitions[s, a, to] for s, a in pairs] for to in range(S)]
    limited = [(cost.rewards.ravel(), limit) for cost, limit in zip(costs, limits, strict=True) if np.isfinite(limit)]
    rows, bounds = zip(*limited, strict=True) if limited else (None, None)
    found = scipy.optimize.linprog(-mdp.rewards.ravel(), A_ub=rows, b_ub=bounds, A_eq=flow, b_eq=mdp.initial)
    assert found.success
    return -found.fun, [cost.rewards.ravel() @ found.x for cost in costs]


@functools.cache
def table():
    """Make a policy with a logit for each state and action."""
    network = keras.Sequential([keras.layers.Input((S,)), keras.layers.Identity()])
    return Policy(Encoder((S,), A, network=network, normalize_observations=False, seed=0), Categorical(A))


class Traced:
    """A step of the tabular policy, and its state; the optimizer's numbers are inputs."""

    def __init__(self, numbers, state, jit_compile):
        self.numbers, self.state, self.owner = numbers, state, None
        self.step = tf.function(self._step, jit_compile=jit_compile, autograph=False)

    def _step(self, batch, progress):
        _, optimizer = self.numbers.read()
        return optimizer.step(table(), batch, self.state, progress=progress, gamma=GAMMA)

    def restart(self, numbers, state):
        for variable, new in zip(
            (self.numbers.variable, *self.state.variables), (numbers.variable, *state.variables), strict=True
        ):
            variable.assign(new)


kept = {}
"""Steps that are traced already, by the structure of the optimizer."""


class Steps:
    """Steps of a tabular policy on exact batches, which have each state and action once, weighted by its frequency.

    Optimizers that differ only in numbers share a trace and its state: take the steps of one before you make another.
    """

    def __init__(self, optimizer, steps, *, jit_compile=False):
        self.policy, self.steps = table(), steps
        self.policy.assign_flat_weights(0.01 * tf.random.stateless_normal(self.policy.flat_weights.shape, [1, 2]))
        numbers = Numbers(UpdateSettings(), optimizer.settled(self.policy.action_distribution))
        state = optimizer.make_state(self.policy)
        traced = kept.setdefault((numbers.structure, jit_compile), Traced(numbers, state, jit_compile))
        traced.restart(numbers, state)
        traced.owner = self
        self.state, self._traced = traced.state, traced

    def graph(self, problem):
        return self._traced.step.get_concrete_function(
            self.batch(problem), tf.constant(0.0, tf.float64)
        ).graph.as_graph_def()

    def probabilities(self):
        found = tf.nn.softmax(tf.cast(self.policy.distribution_parameters(tf.eye(S)), tf.float64)).numpy()
        return found / found.sum(axis=1, keepdims=True)

    def batch(self, problem):
        reward, *costs = (each.evaluate(self.probabilities()) for each in (problem.mdp, *problem.costs))
        weights = (reward.visitation_frequencies[:, None] * reward.policy).ravel() / LENGTH
        advantages = np.stack([each.advantages.ravel() for each in costs], axis=1)
        totals = tf.constant([each.expected_return for each in costs], tf.float64)
        return Batch(
            tf.repeat(tf.eye(S), A, axis=0),
            tf.tile(tf.range(A), [S]),
            tf.constant(reward.advantages.ravel(), tf.float32),
            tf.constant(weights, tf.float32),
            costs=Costs(tf.constant(advantages, tf.float32), totals, tf.constant(LENGTH, tf.float64)),
        )

    def train(self, make_batch):
        assert self._traced.owner is self
        return [
            self._traced.step(make_batch(), tf.constant(number / self.steps, tf.float64))
            for number in range(self.steps)
        ]

    def learn(self, problem):
        outcomes = self.train(lambda: self.batch(problem))
        found = [each.evaluate(self.probabilities()).expected_return for each in (problem.mdp, *problem.costs)]
        return found[0], found[1:], outcomes


@pytest.mark.parametrize(
    ("seed", "num_costs"),
    [
        (1, 1),
        (11, 2),
        (23, 3),
        *(pytest.param(seed, 1, marks=pytest.mark.slow) for seed in range(20, 28)),
        # No policy is within the limits of the problem of seed 21.
        *(pytest.param(seed, 3, marks=pytest.mark.slow) for seed in (20, 22, *range(24, 30))),
    ],
)
def test_constrained_steps_reach_the_optimum_of_the_linear_programme(seed, num_costs):
    problem = ConstrainedMDP(seed, num_costs)
    limits = problem.limits()
    best, _ = problem.solve(limits)
    limits = tuple(map(float, limits))
    optimizer = ConstrainedTrustRegion(0.01, cost_limits=limits, margin_gain=0.0, direction=EXACT)
    reached, costs, outcomes = Steps(optimizer, 60).learn(problem)
    assert reached == pytest.approx(best, rel=0.01)
    assert (np.array(costs) <= np.array(limits) * (1 + 1e-4)).all()
    # The first policy is above a limit that no step within the trust region reaches.
    assert outcomes[0].restores
    assert not outcomes[-1].accepted
    # Without the limits, the best return would be much higher.
    assert problem.solve([np.inf] * num_costs)[0] > best + 0.05 * abs(best)


@pytest.mark.slow
@pytest.mark.parametrize("margin", [0.005, -0.5])
def test_xla_gives_the_same_constrained_step_to_rounding(margin):
    problem = ConstrainedMDP(11, 2)
    totals = Steps(TrustRegion(), 1).batch(problem).costs.totals.numpy()
    optimizer = ConstrainedTrustRegion(0.01, cost_limits=tuple((totals + margin).tolist()))
    changes = []
    for jit_compile in (False, True):
        steps = Steps(optimizer, 1, jit_compile=jit_compile)
        before = steps.policy.flat_weights.numpy()
        _, _, [outcome] = steps.learn(problem)
        assert outcome.accepted
        assert outcome.restores == (margin < 0)
        changes.append(steps.policy.flat_weights.numpy() - before)
    plain, compiled = changes
    assert np.linalg.norm(compiled - plain) < 0.01 * np.linalg.norm(plain)


def test_no_constrained_step_slices_at_an_index_that_it_computes():
    """XLA would search the whole program for the value of such an index, and take minutes to compile."""
    graph = Steps(ConstrainedTrustRegion(cost_limits=(1.0, 1.0)), 1).graph(ConstrainedMDP(11, 2))
    bodies = [graph.node, *(function.node_def for function in graph.library.function)]
    slices = 0
    for nodes in bodies:
        constants = {node.name for node in nodes if node.op == "Const"}
        for node in nodes:
            if node.op == "StridedSlice":
                slices += 1
                assert {name.split(":")[0] for name in node.input[1:4]} <= constants, node
    assert slices


@pytest.mark.parametrize(
    ("seed", "gains"),
    [
        (4, {"kp": 10.0, "ki": 0.5, "kd": 0.0}),
        *(pytest.param(seed, {"kp": 4.0, "ki": 0.2, "kd": 4.0}, marks=pytest.mark.slow) for seed in (1, 2, 3, 4, 5)),
    ],
)
def test_steps_with_multipliers_reach_the_optimum_of_the_linear_programme(seed, gains):
    problem = ConstrainedMDP(seed, 1)
    [limit] = problem.limits()
    best, _ = problem.solve([limit])
    gains = {f"multiplier_{name}": gain for name, gain in gains.items()}
    optimizer = LagrangianTrustRegion(1e-3, final_max_kl=1e-5, cost_limits=(float(limit),), direction=EXACT, **gains)
    reached, [cost], outcomes = Steps(optimizer, 250).learn(problem)
    assert reached == pytest.approx(best, rel=0.01)
    assert cost == pytest.approx(limit, rel=0.005)
    assert outcomes[-1].multipliers[0] > 0.1


def with_totals(batch, totals):
    return batch._replace(costs=batch.costs._replace(totals=tf.constant(totals, tf.float64)))


def test_multipliers_follow_the_controller_step_by_step():
    optimizer = LagrangianTrustRegion(
        cost_limits=(2.0, 5.0), multiplier_kp=0.5, multiplier_ki=0.25, multiplier_kd=2.0, initial_multiplier=0.125
    )
    steps, problem = Steps(optimizer, 1), ConstrainedMDP(0, 2)
    integral, last = np.full(2, 0.125), np.zeros(2)
    for totals in ([30.0, 0.0], [2.5, 5.5], [1.0, 1000.0], [0.0, 4.0], [0.0, 0.0]):
        [outcome] = steps.train(lambda totals=totals: with_totals(steps.batch(problem), totals))
        error = np.clip(np.array(totals) / [2.0, 5.0] - 1, -1, 1)
        integral = np.maximum(0, integral + 0.25 * error)
        expected = np.maximum(0, 0.5 * error + integral + 2.0 * np.maximum(error - last, 0))
        np.testing.assert_allclose(outcome.multipliers, expected, rtol=1e-12)
        last = error
        np.testing.assert_allclose(steps.state.variables[-1].numpy(), [integral, last], rtol=1e-12)


def test_margins_follow_the_totals_and_lower_the_limits():
    """Each step is, bit for bit, the step of the lowered limits without margins."""
    limits, margins, problem = np.array([2.0, -5.0, 0.0]), np.zeros(3), ConstrainedMDP(0, 3)
    steps = Steps(ConstrainedTrustRegion(cost_limits=tuple(limits), margin_gain=1.5), 1)
    given = [[9.0, -6.0, 3.0], [2.5, -4.5, 3.0], *[[4.0, 14.0, 3.0]] * 3, [10.1, -5.5, -3.0]]
    for number, totals in enumerate(given):
        start, batch = steps.policy.flat_weights.numpy(), with_totals(steps.batch(problem), totals)
        [outcome] = steps.train(functools.partial(tf.nest.map_structure, tf.identity, batch))
        excess = np.clip((np.array(totals) - limits) / [2.0, 5.0, np.inf], -1, 1)
        is_far = np.array(totals) - limits > 4 * np.abs(limits)
        margins = np.clip(margins + 1.5 * np.where(is_far, 0, excess), 0, 4)
        np.testing.assert_allclose(outcome.cost_margins, margins, rtol=1e-12)
        lowered = tuple(map(float, limits - margins * np.abs(limits)))
        found = steps.policy.flat_weights.numpy()
        assert (found != start).any()
        if number not in (1, 5):
            # Each of the other optimizers has a trace of its own.
            continue
        other = Steps(ConstrainedTrustRegion(cost_limits=lowered, margin_gain=0.0), 1)
        other.policy.assign_flat_weights(tf.constant(start))
        other.train(functools.partial(tf.nest.map_structure, tf.identity, batch))
        np.testing.assert_array_equal(other.policy.flat_weights.numpy(), found)


def test_a_margin_does_not_rise_far_above_its_limit():
    """Otherwise a policy that starts there would ignore rewards long after its cost is below the limit."""
    problem = ConstrainedMDP(0, 1)
    steps = Steps(ConstrainedTrustRegion(cost_limits=(25.0,), margin_gain=0.5), 1)
    for total, margin in ((970.0, 0), (400.0, 0), (126.0, 0), (124.0, 0.5), (970.0, 0.5), (30.0, 0.6), (0.0, 0.1)):
        [outcome] = steps.train(functools.partial(with_totals, steps.batch(problem), [total]))
        np.testing.assert_allclose(outcome.cost_margins, [margin], atol=1e-12)


def test_a_multiplier_of_zero_does_not_change_the_step():
    problem = ConstrainedMDP(0, 1)
    plain, mixed = (
        Steps(optimizer, 2).learn(problem) for optimizer in (TrustRegion(), LagrangianTrustRegion(cost_limits=(1e9,)))
    )
    assert mixed[2][-1].multipliers == 0
    assert plain[:2] == mixed[:2]


def test_equal_advantages_of_a_cost_count_as_0():
    """The rounding error of their mean must not be divided by itself."""
    problem, found = ConstrainedMDP(11, 1), []
    for advantage in (0.0, 0.1, 0.3, 7.7):
        steps = Steps(LagrangianTrustRegion(cost_limits=(0.1,), initial_multiplier=1.0), 1)
        batch = steps.batch(problem)
        costs = batch.costs._replace(advantages=tf.fill(batch.costs.advantages.shape, np.float32(advantage)))
        steps.train(functools.partial(batch._replace, costs=costs))
        found.append(steps.policy.flat_weights.numpy())
    for weights in found[1:]:
        np.testing.assert_array_equal(weights, found[0])


@pytest.mark.parametrize("entropy", [EntropyBonus(), EntropyBonus(0.1)])
def test_figures_of_a_step_with_multipliers_are_those_of_the_rewards(entropy):
    problem = ConstrainedMDP(11, 1)
    settings = {"entropy": entropy, "direction": EXACT}
    optimizer = LagrangianTrustRegion(1e-5, cost_limits=(0.1,), initial_multiplier=5.0, **settings)
    steps = Steps(optimizer, 1)
    batch, old = steps.batch(problem), steps.probabilities()
    [outcome] = steps.train(lambda: batch)
    assert outcome.accepted
    gains = (batch.weights.numpy() * batch.advantages.numpy()).reshape(S, A) * (steps.probabilities() / old - 1)
    assert float(outcome.actual_improvement) == pytest.approx(gains.sum(), rel=1e-4)
    # With short steps, the surrogate is nearly linear.
    assert float(outcome.improvement_ratio) == pytest.approx(1, abs=0.05)
    # The residual is that of the gradient of the mixture.
    assert outcome.cg_residual < 1e-3
    # Without multipliers, the step would have raised the return.
    assert outcome.actual_improvement < 0


def kl_from(anchor, weights, probabilities):
    return weights @ np.sum(anchor * np.log(anchor / probabilities), axis=1)


def mean_of(table, weights, probabilities):
    return np.sum(weights[:, None] * probabilities.reshape(S, A) * table)


def best_mean(table, weights, anchor, limit, *positive):
    """SLSQP's largest mean of a table subject to KL(anchor || policy) <= limit, with these functions not negative."""
    inequalities = [lambda flat: limit - kl_from(anchor, weights, flat.reshape(S, A)), *positive]
    found = scipy.optimize.minimize(
        lambda flat: -mean_of(table, weights, flat),
        anchor.ravel(),
        bounds=[(1e-6, 1.0)] * (S * A),
        constraints=[
            {"type": "eq", "fun": lambda flat: flat.reshape(S, A).sum(axis=1) - 1.0},
            *({"type": "ineq", "fun": each} for each in inequalities),
        ],
    )
    assert found.success
    return -found.fun


def test_a_policy_at_the_limit_of_its_anchor_continues_to_learn():
    """On bandits, the policy reaches SLSQP's best mean advantage subject to KL(anchor || policy) <= 0.05.

    Then the advantages change, and the policy must move along the limit to the new optimum.
    """
    rng = np.random.default_rng(3)
    weights, limit, tables = rng.dirichlet(np.ones(S)), 0.05, rng.normal(size=(2, S, A))
    steps = Steps(TrustRegion(0.002, anchor_kl=limit, direction=EXACT), 40)
    anchor = steps.probabilities()
    parameters = steps.policy.distribution_parameters(tf.repeat(tf.eye(S), A, axis=0))

    def batch(advantages):
        now = steps.probabilities()
        # The tolerance is for the batch's float32 weights.
        assert kl_from(anchor, weights, now) <= limit * (1 + 1e-5)
        centred = advantages - np.sum(now * advantages, axis=1, keepdims=True)
        return Batch(
            tf.repeat(tf.eye(S), A, axis=0),
            tf.tile(tf.range(A), [S]),
            tf.constant(centred.ravel(), tf.float32),
            tf.constant((weights[:, None] * now).ravel(), tf.float32),
            anchor=parameters,
        )

    for advantages in tables:
        start = mean_of(advantages, weights, steps.probabilities())
        outcomes = steps.train(functools.partial(batch, advantages))
        assert max(outcome.anchor_kl for outcome in outcomes) <= limit
        best = best_mean(advantages, weights, anchor, limit)
        reached = mean_of(advantages, weights, steps.probabilities())
        assert reached - start == pytest.approx(best - start, rel=0.01)
        assert kl_from(anchor, weights, steps.probabilities()) > 0.98 * limit


@pytest.mark.parametrize("kind", [ConstrainedTrustRegion, LagrangianTrustRegion])
def test_limits_on_a_cost_and_on_the_kl_from_an_anchor_hold_together(kind):
    """On bandits, the policy reaches SLSQP's best mean reward within both limits, which both are active."""
    rng = np.random.default_rng(3)
    weights, kl_limit, rewards = rng.dirichlet(np.ones(S)), 0.05, rng.normal(size=(S, A))
    costs = 1.0 + 0.7 * rewards + rng.normal(size=(S, A))
    cost_limit = LENGTH * mean_of(costs, weights, np.full((S, A), 1 / A))
    is_exact = kind is ConstrainedTrustRegion
    own = {"margin_gain": 0.0} if is_exact else {"final_max_kl": 1e-5}
    optimizer = kind(0.002, anchor_kl=kl_limit, cost_limits=(cost_limit,), direction=EXACT, **own)
    steps = Steps(optimizer, 100 if is_exact else 250)
    start, anchor = steps.policy.distribution_parameters(tf.repeat(tf.eye(S), A, axis=0)), steps.probabilities()

    def batch():
        now = steps.probabilities()
        centred = [each - np.sum(now * each, axis=1, keepdims=True) for each in (rewards, costs)]
        advantages, of_cost = (tf.constant(each.ravel(), tf.float32) for each in centred)
        return Batch(
            tf.repeat(tf.eye(S), A, axis=0),
            tf.tile(tf.range(A), [S]),
            advantages,
            tf.constant((weights[:, None] * now).ravel(), tf.float32),
            anchor=start,
            costs=Costs(
                of_cost[:, None],
                tf.constant([LENGTH * mean_of(costs, weights, now)], tf.float64),
                tf.constant(LENGTH, tf.float64),
            ),
        )

    outcomes = steps.train(batch)
    assert max(outcome.anchor_kl for outcome in outcomes) <= kl_limit
    best = best_mean(
        rewards, weights, anchor, kl_limit, lambda flat: cost_limit - LENGTH * mean_of(costs, weights, flat)
    )
    reached, begun = (mean_of(rewards, weights, each) for each in (steps.probabilities(), anchor))
    assert reached - begun == pytest.approx(best - begun, rel=0.02)
    assert kl_from(anchor, weights, steps.probabilities()) > 0.95 * kl_limit
    assert LENGTH * mean_of(costs, weights, steps.probabilities()) == pytest.approx(cost_limit, rel=0.005)


@pytest.mark.parametrize("noise", [0.0, 1e-7, 1e-5])
@pytest.mark.parametrize("limit", [1e-3, 1e-5])
def test_a_policy_that_equals_its_anchor_learns_although_the_trust_region_is_much_larger(limit, noise):
    """At the anchor, the gradient of the KL from it is 0, or rounding noise in any direction."""
    steps = Steps(TrustRegion(0.17, anchor_kl=limit, direction=EXACT), 3)
    problem = ConstrainedMDP(0, 1)
    batch = steps.batch(problem)
    anchor = steps.policy.distribution_parameters(batch.observations)
    anchor += noise * tf.random.stateless_normal(anchor.shape, [1, 5])
    outcomes = steps.train(lambda: steps.batch(problem)._replace(anchor=anchor))
    assert outcomes[0].accepted
    assert 0.1 * limit < outcomes[0].anchor_kl <= limit
    assert max(outcome.anchor_kl for outcome in outcomes) <= limit
    assert sum(outcome.actual_improvement for outcome in outcomes) > 0


def test_a_policy_beyond_the_limit_of_its_anchor_returns():
    steps = Steps(TrustRegion(0.01, anchor_kl=0.02, direction=EXACT), 12)
    problem = ConstrainedMDP(0, 1)
    anchor = 2.0 * tf.random.stateless_normal([S, A], [1, 5])
    outcomes = steps.train(lambda: steps.batch(problem)._replace(anchor=tf.repeat(anchor, A, axis=0)))
    assert outcomes[0].restores
    assert outcomes[0].anchor_kl > 0.1
    kls = [outcome.anchor_kl.numpy() for outcome in outcomes if outcome.restores]
    assert (np.diff(kls) < 0).all()
    assert outcomes[-1].anchor_kl <= 0.02


def scores_of(policy):
    """Return the gradients of log pi(a|s) for each state and action, float64 [S A, P]; the biases come last."""
    centred = np.eye(A) - policy[:, None, :]
    return np.concatenate(
        [np.einsum("sab,st->satb", centred, np.eye(S)).reshape(S * A, -1), centred.reshape(S * A, A)], 1
    )


def test_a_limit_that_only_the_mean_kl_can_reach_is_approached_within_the_largest_kl():
    steps = Steps(ConstrainedTrustRegion(0.01, constraint="max", cost_limits=(1.0,), direction=EXACT), 1)
    batch = steps.batch(ConstrainedMDP(2, 1))
    scores, weights = scores_of(steps.probabilities()), np.asarray(batch.weights, np.float64)
    of_cost = (weights * np.asarray(batch.costs.advantages[:, 0])) @ scores
    fisher = scores.T @ (weights[:, None] * scores)
    cheapest = np.linalg.solve(fisher + 1e-5 * np.eye(len(fisher)), of_cost)
    # The limit is reachable within the mean KL, but not within the largest KL, at which the mean KL is half as large.
    reach = np.sqrt(2 * 0.01 * of_cost @ cheapest)
    totals = 1.0 + 0.75 * reach * LENGTH
    start = steps.policy.flat_weights.numpy()
    [outcome] = steps.train(
        lambda: batch._replace(costs=batch.costs._replace(totals=tf.constant([totals], tf.float64)))
    )
    change = start - steps.policy.flat_weights.numpy()
    assert outcome.accepted
    assert outcome.restores
    assert 0.9 * 0.01 < outcome.max_kl_over_states <= 0.01
    assert outcome.kl < 0.5 * 0.01
    assert change @ cheapest / np.linalg.norm(change) / np.linalg.norm(cheapest) > 0.999


def test_an_almost_deterministic_policy_takes_a_constrained_step():
    """In float32, the curvature along the step underflows to 0, so the damping alone determines the step's length."""
    steps = Steps(ConstrainedTrustRegion(0.01, cost_limits=(1.0,)), 1)
    steps.policy.assign_flat_weights(tf.constant([0.0] * (S * A) + [34.0, 0.0, 0.0]))
    batch = steps.batch(ConstrainedMDP(0, 1))
    advantages = tf.constant(np.random.default_rng(0).normal(size=(2, S * A)), tf.float32)
    batch = batch._replace(
        actions=tf.zeros([S * A], tf.int32),
        weights=tf.fill([S * A], 1.0 / (S * A)),
        advantages=advantages[0],
        costs=batch.costs._replace(advantages=advantages[1][:, None], totals=tf.constant([0.5], tf.float64)),
    )
    start = steps.policy.flat_weights.numpy()
    [outcome] = steps.train(lambda: batch)
    assert outcome.accepted
    assert outcome.candidate_improvement > 0
    assert outcome.kl <= 0.01
    change = steps.policy.flat_weights.numpy() - start
    np.testing.assert_allclose(np.linalg.norm(change), np.sqrt(2 * 0.01 / 0.1), rtol=1e-5)

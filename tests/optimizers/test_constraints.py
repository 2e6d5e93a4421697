"""Constrained steps against a linear programme over occupancy measures, and against figures computed again."""

import functools

import keras
import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf

from tf_trpo.distributions import Categorical
from tf_trpo.estimation import Batch, Costs
from tf_trpo.models import Encoder, Policy
from tf_trpo.optimizers import ConstrainedTrustRegion, LagrangianTrustRegion, NaturalDirection, TrustRegion
from tf_trpo.theory import FiniteMDP, random_mdp

S, A, GAMMA = 4, 3, 0.8
LENGTH = 1 / (1 - GAMMA)
EXACT = NaturalDirection(cg_damping=1e-5, cg_iterations=60)


class ConstrainedMDP:
    """A random MDP with costs, of which everything is exact: values, visits, and the best policy within the limits."""

    def __init__(self, seed, num_costs):
        rng = np.random.default_rng(seed)
        self.mdp = random_mdp(S, A, GAMMA, rng)
        self.costs = [
            FiniteMDP(self.mdp.transitions, rng.uniform(size=(S, A)), self.mdp.initial, GAMMA) for _ in range(num_costs)
        ]

    def limits(self):
        """Half the way from the least first cost to that of the best policy; 2% more than that one's for the others."""
        first = self.costs[0]
        cheapest = FiniteMDP(first.transitions, -first.rewards, first.initial, GAMMA)
        _, free = self.solve([np.inf] * len(self.costs))
        least = -best_return(cheapest, [], [])[0]
        return [(least + free[0]) / 2, *(1.02 * cost for cost in free[1:])]

    def solve(self, limits):
        return best_return(self.mdp, self.costs, limits)


def best_return(mdp, costs, limits):
    """Maximise the return over occupancy measures, by a linear programme; infinite limits are none."""
    pairs = [(s, a) for s in range(S) for a in range(A)]
    flow = [[(s == to) - GAMMA * mdp.transitions[s, a, to] for s, a in pairs] for to in range(S)]
    limited = [(cost.rewards.ravel(), limit) for cost, limit in zip(costs, limits, strict=True) if np.isfinite(limit)]
    rows, bounds = zip(*limited, strict=True) if limited else (None, None)
    found = scipy.optimize.linprog(-mdp.rewards.ravel(), A_ub=rows, b_ub=bounds, A_eq=flow, b_eq=mdp.initial)
    assert found.success
    return -found.fun, [cost.rewards.ravel() @ found.x for cost in costs]


@functools.cache
def table():
    """A policy with a logit for each state and action."""
    network = keras.Sequential([keras.layers.Input((S,)), keras.layers.Identity()])
    return Policy(Encoder((S,), A, network=network, normalize_observations=False, seed=0), Categorical(A))


class Steps:
    """Steps of an optimizer on a table of logits, on exact batches: each state and action once, by its frequency."""

    def __init__(self, optimizer, steps):
        self.policy, self.steps = table(), steps
        self.policy.assign_flat_weights(0.01 * tf.random.stateless_normal(self.policy.flat_weights.shape, [1, 2]))
        state = optimizer.make_state(self.policy)
        self._step = tf.function(
            lambda batch, progress: optimizer.step(self.policy, batch, state, progress=progress, gamma=GAMMA),
            autograph=False,
        )

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
        return [self._step(make_batch(), tf.constant(number / self.steps, tf.float64)) for number in range(self.steps)]

    def learn(self, problem):
        outcomes = self.train(lambda: self.batch(problem))
        found = [each.evaluate(self.probabilities()).expected_return for each in (problem.mdp, *problem.costs)]
        return found[0], found[1:], outcomes


@pytest.mark.parametrize(
    ("seed", "num_costs"),
    [
        (1, 1),
        (11, 2),
        *(pytest.param(seed, costs, marks=pytest.mark.slow) for seed in range(20, 30) for costs in (1, 3)),
    ],
)
def test_constrained_steps_reach_the_optimum_of_the_linear_programme(seed, num_costs):
    problem = ConstrainedMDP(seed, num_costs)
    limits = problem.limits()
    best, _ = problem.solve(limits)
    optimizer = ConstrainedTrustRegion(0.01, cost_limits=tuple(map(float, limits)), direction=EXACT)
    reached, costs, outcomes = Steps(optimizer, 60).learn(problem)
    assert reached == pytest.approx(best, rel=0.01)
    assert (np.array(costs) <= np.array(limits) * (1 + 1e-4)).all()
    # The start is above a limit, from which no step within the trust region leads back.
    assert outcomes[0].restores
    assert not outcomes[-1].accepted
    # Without the limits, another policy would be the best one by far.
    assert problem.solve([np.inf] * num_costs)[0] > best + 0.05 * abs(best)


@pytest.mark.parametrize(
    ("seed", "gains"),
    [
        (4, {"kp": 10.0, "ki": 0.5, "kd": 0.0}),
        *(pytest.param(seed, {"kp": 4.0, "ki": 0.2, "kd": 4.0}, marks=pytest.mark.slow) for seed in (1, 2, 3, 4, 5)),
    ],
)
def test_multipliers_lead_to_the_optimum_of_the_linear_programme(seed, gains):
    problem = ConstrainedMDP(seed, 1)
    [limit] = problem.limits()
    best, _ = problem.solve([limit])
    gains = {f"multiplier_{name}": gain for name, gain in gains.items()}
    optimizer = LagrangianTrustRegion(1e-3, final_max_kl=1e-5, cost_limits=(float(limit),), direction=EXACT, **gains)
    reached, [cost], outcomes = Steps(optimizer, 250).learn(problem)
    assert reached == pytest.approx(best, rel=0.01)
    assert cost == pytest.approx(limit, rel=0.005)
    assert outcomes[-1].multipliers[0] > 0.1


def test_multipliers_are_those_of_the_controller_step_by_step():
    optimizer = LagrangianTrustRegion(
        cost_limits=(2.0, 5.0), multiplier_kp=0.5, multiplier_ki=0.25, multiplier_kd=2.0, initial_multiplier=0.125
    )
    steps = Steps(optimizer, 1)
    problem = ConstrainedMDP(0, 2)
    state = optimizer.make_state(steps.policy)
    step = tf.function(
        lambda batch: optimizer.step(steps.policy, batch, state, progress=0.0, gamma=GAMMA), autograph=False
    )
    integral, last = np.full(2, 0.125), np.zeros(2)
    for totals in ([30.0, 0.0], [2.5, 5.5], [1.0, 1000.0], [0.0, 4.0], [0.0, 0.0]):
        batch = steps.batch(problem)
        batch = batch._replace(costs=batch.costs._replace(totals=tf.constant(totals, tf.float64)))
        error = np.clip(np.array(totals) / [2.0, 5.0] - 1, -1, 1)
        integral = np.maximum(0, integral + 0.25 * error)
        expected = np.maximum(0, 0.5 * error + integral + 2.0 * np.maximum(error - last, 0))
        np.testing.assert_allclose(step(batch).multipliers, expected, rtol=1e-12)
        last = error
        np.testing.assert_allclose(state.variables[-1].numpy(), [integral, last], rtol=1e-12)


def test_a_multiplier_of_zero_leaves_the_step_of_the_rewards():
    problem = ConstrainedMDP(0, 1)
    plain, mixed = (
        Steps(optimizer, 2).learn(problem) for optimizer in (TrustRegion(), LagrangianTrustRegion(cost_limits=(1e9,)))
    )
    assert mixed[2][-1].multipliers == 0
    assert plain[:2] == mixed[:2]


def kl_from(anchor, weights, probabilities):
    return weights @ np.sum(anchor * np.log(anchor / probabilities), axis=1)


def test_a_policy_at_the_limit_of_its_anchor_learns_on():
    """Bandits: the best mean advantage within KL(anchor || policy) <= 0.05 by SLSQP, over probabilities.

    Then the advantages change: from one point at the limit, the policy has to find another one.
    """
    rng = np.random.default_rng(3)
    weights, limit, tables = rng.dirichlet(np.ones(S)), 0.05, rng.normal(size=(2, S, A))
    steps = Steps(TrustRegion(0.002, anchor_kl=limit, direction=EXACT), 40)
    anchor = steps.probabilities()
    parameters = steps.policy.distribution_parameters(tf.repeat(tf.eye(S), A, axis=0))

    def batch(advantages):
        now = steps.probabilities()
        # The batch weighs the states by the weights up to float32's rounding.
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
        start = np.sum(weights[:, None] * steps.probabilities() * advantages)
        outcomes = steps.train(functools.partial(batch, advantages))
        assert max(outcome.anchor_kl for outcome in outcomes) <= limit
        found = scipy.optimize.minimize(
            lambda flat, advantages=advantages: -np.sum(weights[:, None] * flat.reshape(S, A) * advantages),
            anchor.ravel(),
            bounds=[(1e-6, 1.0)] * (S * A),
            constraints=[
                {"type": "eq", "fun": lambda flat: flat.reshape(S, A).sum(axis=1) - 1.0},
                {"type": "ineq", "fun": lambda flat: limit - kl_from(anchor, weights, flat.reshape(S, A))},
            ],
        )
        assert found.success
        reached = np.sum(weights[:, None] * steps.probabilities() * advantages)
        assert reached - start == pytest.approx(-found.fun - start, rel=0.01)
        assert kl_from(anchor, weights, steps.probabilities()) > 0.98 * limit


def test_a_policy_beyond_the_limit_of_its_anchor_comes_back():
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
    """Gradients of log pi(a|s) for each state and action, float64 [S A, P], with those of the biases last."""
    centred = np.eye(A) - policy[:, None, :]
    return np.concatenate(
        [np.einsum("sab,st->satb", centred, np.eye(S)).reshape(S * A, -1), centred.reshape(S * A, A)], 1
    )


def test_within_the_largest_kl_a_step_only_restores_what_the_mean_kl_would_do_besides():
    steps = Steps(ConstrainedTrustRegion(0.01, constraint="max", cost_limits=(1.0,), direction=EXACT), 1)
    batch = steps.batch(ConstrainedMDP(2, 1))
    scores, weights = scores_of(steps.probabilities()), np.asarray(batch.weights, np.float64)
    of_cost = (weights * np.asarray(batch.costs.advantages[:, 0])) @ scores
    fisher = scores.T @ (weights[:, None] * scores)
    cheapest = np.linalg.solve(fisher + 1e-5 * np.eye(len(fisher)), of_cost)
    # The least cost is within reach of the mean KL, and not of the largest one, where the mean KL is smaller by half.
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


def test_a_policy_that_is_sure_of_one_action_still_takes_a_constrained_step():
    """In float32, the curvature along the step is 0 by underflow: the damping alone measures the step."""
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

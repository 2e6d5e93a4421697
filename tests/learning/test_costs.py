"""Costs in trainings: estimates compared with naive loops, limits, logs, files, resumed fits."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_trpo
from tests.agents import Drift
from tf_trpo.callbacks import Checkpoint
from tf_trpo.environments import make_vector_environment
from tf_trpo.learning import UpdateSettings
from tf_trpo.models.settings import PolicySettings, ValueSettings
from tf_trpo.optimizers import ConstrainedTrustRegion, LagrangianTrustRegion, TrustRegion
from tf_trpo.rollouts import LocalSource, Rollout, make_actor
from tf_trpo.training import CheckpointError
from tf_trpo.training.metrics import Report

FIT = {"num_envs": 2, "num_steps": 32, "seed": 3, "verbose": 0}
GAMMA, LAMBDA = 0.9, 0.8
LAGRANGIAN = LagrangianTrustRegion(cost_limits=(3.0, 4.0), multiplier_kd=1.0)


def backward(observation, action, reward, next_observation, info):
    return float(next_observation[0] < observation[0])


def make_agent(optimizer=None, costs=("speed", backward), anchor=None, memory=None, **update):
    agent = tf_trpo.TRPO.for_env(
        Drift,
        policy=PolicySettings(hidden_sizes=(6,), memory=memory, ema_momentum=None),
        value=ValueSettings(value_hidden_sizes=(6,)),
        seed=1,
        costs=costs,
    )
    settings = UpdateSettings(
        **{"gamma": GAMMA, "gae_lambda": LAMBDA, "value_epochs": 2, "value_minibatch_size": 16} | update
    )
    agent.compile(optimizer, update=settings, jit_compile=False, anchor=anchor)
    return agent


class Kept(keras.callbacks.Callback):
    """Keeps the rollouts of a fit, and the result of `look(agent)` before each iteration."""

    def __init__(self, look=lambda agent: None):
        super().__init__()
        self.rollouts, self.seen, self._look = [], [], look

    def on_epoch_begin(self, epoch, logs=None):
        self.seen.append(self._look(self.model))

    def on_epoch_end(self, epoch, logs=None):
        self.rollouts.append(self.params["trainer"].rollout)


def naive_advantages(costs, values, rollout):
    """Compute generalised advantage estimates by their definition, each sum separately."""
    steps, envs = costs.shape
    advantages = np.zeros((steps, envs))
    for b in range(envs):
        for t in range(steps):
            factor = 1.0
            for k in range(t, steps):
                if not rollout.valid[k, b]:
                    break
                following = 0.0 if rollout.terminated[k, b] else values[k + 1, b]
                advantages[t, b] += factor * (costs[k, b] + GAMMA * following - values[k, b])
                if rollout.terminated[k, b] or rollout.truncated[k, b]:
                    break
                factor *= GAMMA * LAMBDA
    return advantages


def test_estimates_of_costs_equal_those_of_naive_loops_in_the_costs_own_units():
    agent = make_agent()
    agent.fit(Drift, 128, **FIT)
    kept, learner = Kept(), agent.learner
    prepare, given = learner.prepare, []

    def noting(rollout, carry, totals):
        values = [model.predict_on_batch(np.concatenate(rollout.observations)) for model in agent.cost_value_functions]
        prepared, after = prepare(rollout, carry, totals)
        units = [1.0 / float(scale(tf.constant(1.0))) for scale in agent.cost_return_scales]
        given.append((rollout, np.array(totals), prepared, np.reshape(values, (2, 33, 2)), units))
        return prepared, after

    learner.prepare = noting
    tf.config.run_functions_eagerly(True)
    try:
        agent.fit(Drift, 60, callbacks=kept, **FIT)
    finally:
        tf.config.run_functions_eagerly(False)
    [(rollout, totals, prepared, values, units)] = given
    [rollout] = kept.rollouts
    assert rollout.valid.sum() < rollout.valid.size
    weights, costs = prepared.batch.weights.numpy(), prepared.batch.costs
    np.testing.assert_array_equal([costs.totals[0], costs.totals[1], costs.length], totals)
    for place in range(2):
        scaled = rollout.costs[..., place] / units[place]
        advantages = naive_advantages(scaled, values[place], rollout)
        expected = units[place] * advantages.ravel()
        expected -= weights @ expected
        counts = weights > 0
        np.testing.assert_allclose(costs.advantages.numpy()[counts, place], expected[counts], rtol=1e-3, atol=1e-4)
        samples = prepared.values[1 + place]
        targets = (advantages + values[place][:-1]).ravel()
        np.testing.assert_allclose(samples.targets.numpy()[counts], targets[counts], rtol=1e-3, atol=1e-4)
    # Each cost has its own scale: all three scales differ.
    assert len({round(unit, 4) for unit in [*units, 1.0 / float(agent.return_scale(tf.constant(1.0)))]}) == 3


def test_totals_and_logs_equal_those_of_the_episodes():
    agent, kept = make_agent(), Kept()
    agent.learner.update, totals = _noting_totals(agent.learner.update)
    history = agent.fit(Drift, 300, callbacks=kept, **FIT).history
    rollouts = [np.concatenate(parts) for parts in zip(*[rollout[2:6] for rollout in kept.rollouts], strict=True)]
    costs, (_, terminated, truncated, valid) = np.concatenate([each.costs for each in kept.rollouts]), rollouts
    ended, episodes = terminated | truncated, []
    for row in range(len(ended)):
        for b in range(2):
            if ended[row, b]:
                start = max(np.flatnonzero(ended[:row, b]), default=-1) + 1
                own = costs[start : row + 1, b].sum(axis=0)
                episodes.append((row // 32, b, *own, valid[start : row + 1, b].sum()))
    for number, found in enumerate(totals):
        # Episodes are in the order in which they ended.
        before = [each for each in episodes if each[0] <= number]
        now = sum(each[0] == number for each in before)
        last = np.array(before)[-max(now, 5) :, 2:]
        np.testing.assert_allclose(found, last.mean(axis=0))
        np.testing.assert_allclose(
            [history[f"rollout/ep_cost_mean/{name}"][number] for name in ("speed", "backward")],
            np.array(before)[-100:, 2:4].mean(axis=0),
        )
    assert {"train/value_loss/speed", "train/explained_variance/backward"} <= history.keys()
    # Without limits, no figures of limits are logged.
    assert not [name for name in history if "cost_change" in name or "multiplier" in name or "restores" in name]


def _noting_totals(update):
    totals = []

    def noting(rollout, carry, orders, progress, found):
        totals.append(np.array(found))
        return update(rollout, carry, orders, progress, found)

    return noting, totals


def test_costs_that_are_only_logged_do_not_affect_learning():
    with_costs, without = make_agent(), make_agent(costs=())
    for agent in (with_costs, without):
        agent.fit(Drift, 120, **FIT)
    np.testing.assert_array_equal(with_costs.policy.flat_weights, without.policy.flat_weights)
    for one, other in zip(with_costs.value_function.weights, without.value_function.weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("optimizer", "memory"),
    [
        (LAGRANGIAN, None),
        pytest.param(ConstrainedTrustRegion(cost_limits=(3.0, 4.0)), "gru", marks=pytest.mark.slow),
    ],
    ids=["multipliers", "constraints and a memory"],
)
def test_a_fit_with_costs_is_resumed_bit_for_bit(optimizer, memory, tmp_path):
    whole = make_agent(optimizer, memory=memory)
    history = whole.fit(Drift, 240, callbacks=Checkpoint(tmp_path / "whole", 1, keep=9), **FIT).history
    first = sorted((tmp_path / "whole").iterdir())[1]
    resumed = make_agent(optimizer, memory=memory)
    again = resumed.fit(Drift, 240, resume_from=first, **FIT).history
    for name, figures in again.items():
        if not name.startswith("time/"):
            assert figures == history[name][-len(figures) :], name
    assert resumed.learner.variables().keys() == whole.learner.variables().keys()
    for part, variables in whole.learner.variables().items():
        for one, other in zip(variables, resumed.learner.variables()[part], strict=True):
            np.testing.assert_array_equal(one, other, err_msg=part)
    assert any(name.startswith("value optimizer of cost 2") for name in whole.learner.variables())
    if isinstance(optimizer, LagrangianTrustRegion):
        assert np.ptp(history["train/multiplier/speed"]) > 0
    # A run with other costs cannot be resumed from this checkpoint.
    other = make_agent(ConstrainedTrustRegion(cost_limits=(3.0,)), costs=("speed",))
    with pytest.raises(CheckpointError):
        other.fit(Drift, 240, resume_from=first, **FIT)


def test_a_fit_on_a_source_or_a_vector_environment_needs_the_agents_costs():
    with_costs, without = make_agent(), make_agent(costs=())
    fit = {name: value for name, value in FIT.items() if name != "num_envs"}
    for costs in (("speed", backward), ()):
        environments = make_vector_environment(Drift, 2, costs=costs)
        source = LocalSource(environments, make_actor(without.policy, 2), seed=0)
        fits, other = (with_costs, without) if costs else (without, with_costs)
        fits.fit(source, 60, **fit)
        pattern = r"costs of the agent are .*, those of the environments are |was made without speed, backward"
        for environment in (source, environments):
            with pytest.raises(ValueError, match=pattern):
                other.fit(environment, 60, **fit)


def test_an_agent_with_costs_is_the_same_after_saving_and_loading(tmp_path):
    agent = make_agent(LAGRANGIAN)
    agent.fit(Drift, 60, **FIT)
    agent.save(tmp_path / "agent.keras")
    loaded = tf_trpo.load(tmp_path / "agent.keras")
    assert loaded.costs == ("speed", f"{__name__}:backward")
    for part, variables in agent.learner.variables().items():
        for one, other in zip(variables, loaded.learner.variables()[part], strict=True):
            np.testing.assert_array_equal(one, other, err_msg=part)
    result = agent.evaluate(Drift, 4)
    assert result == loaded.evaluate(Drift, 4)
    assert result["cost/speed"] > 0
    assert result["cost/backward"] > 0
    assert "cost/speed" not in loaded.evaluate(Drift, 4, costs=[])
    for each in (agent, loaded):
        each.fit(Drift, 60, **FIT)
    np.testing.assert_array_equal(agent.policy.flat_weights, loaded.policy.flat_weights)


def test_a_learning_rate_set_by_the_user_applies_to_all_value_functions():
    agent = make_agent()
    agent.fit(Drift, 60, **FIT)
    before = [[weight.numpy() for weight in model.trainable_variables] for model in agent.cost_value_functions]
    agent.optimizer.learning_rate = 0.0
    agent.fit(Drift, 60, **FIT)
    for model, weights in zip(agent.cost_value_functions, before, strict=True):
        for now, then in zip(model.trainable_variables, weights, strict=True):
            np.testing.assert_array_equal(now, then)


@pytest.mark.slow
@pytest.mark.parametrize("make", [ConstrainedTrustRegion, LagrangianTrustRegion])
def test_a_limit_on_a_cost_is_learned(make):
    """Without a limit, the fastest walk has the best return."""
    free = make_agent(TrustRegion(0.02), costs=("speed",))
    free.fit(Drift, 20_000, **FIT | {"num_steps": 256})
    limit = free.evaluate(Drift, 20, stochastic=True)["cost/speed"] / 2
    limited = make_agent(make(0.02, cost_limits=(limit,)), costs=("speed",))
    limited.fit(Drift, 40_000, **FIT | {"num_steps": 256})
    result = limited.evaluate(Drift, 50, stochastic=True)
    assert result["cost/speed"] <= 1.1 * limit
    assert result["mean_return"] > make_agent(costs=("speed",)).evaluate(Drift, 50, stochastic=True)["mean_return"] + 1


class TestAnchor:
    @pytest.mark.slow
    def test_the_kl_is_within_the_limit_on_the_states_of_each_step(self):
        limit = 0.02
        start = make_agent(costs=())
        start.fit(Drift, 120, **FIT)
        agent = make_agent(TrustRegion(0.02, anchor_kl=limit), costs=(), anchor=start)
        agent.policy.set_weights(start.policy.get_weights())
        history = agent.fit(Drift, 900, **FIT).history
        kls, restores = history["train/anchor_kl"], history["train/restores"]
        assert max(kls) > 0.5 * limit
        # On new states, the KL may be above the limit. The step must then reduce it.
        for before, now, restored in zip([0.0, *kls], kls, restores, strict=False):
            assert now <= limit or (restored and now < 2 * max(before, limit))
        assert sum(kl <= limit for kl in kls) > len(kls) / 2

    def test_the_logged_kl_equals_that_of_numpy(self):
        start = make_agent(costs=())
        start.fit(Drift, 200, **FIT)
        agent = make_agent(TrustRegion(0.02, anchor_kl=0.01), costs=(), anchor=start)
        agent.policy.set_weights(start.policy.get_weights())
        # The statistics stay the same, so that the policy after the fit is the policy after the step.
        agent.policy.encoder.update_normalization = lambda statistics: tf.constant(True)
        agent.compile(jit_compile=False)
        kept = Kept()
        history = agent.fit(Drift, 460, callbacks=kept, **FIT).history
        rollout = kept.rollouts[-1]
        observations = rollout.observations[:-1][rollout.valid]
        old, new = (
            np.float64(policy.distribution_parameters(tf.constant(observations)))
            for policy in (agent.anchor, agent.policy)
        )
        old, new = (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)) for logits in (old, new))
        kl = np.mean(np.sum(np.exp(old) * (old - new), axis=1))
        assert history["train/anchor_kl"][-1] == pytest.approx(kl, rel=1e-5)
        assert kl > 1e-4

    def test_an_anchor_does_not_change_and_is_saved(self, tmp_path):
        agent = make_agent(costs=())
        agent.fit(Drift, 120, **FIT)
        agent.compile(TrustRegion(0.02, anchor_kl=0.01), anchor=agent)
        before = agent.anchor.get_weights()
        agent.fit(Drift, 240, callbacks=Checkpoint(tmp_path / "checkpoints", None), **FIT)
        assert not np.array_equal(agent.policy.flat_weights, before[0])
        agent.save(tmp_path / "agent.keras")
        loaded = tf_trpo.load(tmp_path / "agent.keras")
        for anchor in (agent.anchor, loaded.anchor):
            for one, other in zip(anchor.get_weights(), before, strict=True):
                np.testing.assert_array_equal(one, other)
        assert loaded.anchor.trainable_variables == []
        for each in (agent, loaded):
            each.fit(Drift, 60, **FIT)
        np.testing.assert_array_equal(agent.policy.flat_weights, loaded.policy.flat_weights)
        # An anchor can also be a file; a run with another anchor cannot be resumed from this checkpoint.
        other = make_agent(TrustRegion(0.02, anchor_kl=0.01), costs=(), anchor=tmp_path / "agent.keras")
        with pytest.raises(CheckpointError, match="anchor"):
            other.fit(Drift, 300, resume_from=tmp_path / "checkpoints", **FIT)

    def test_training_starts_at_it(self):
        start = make_agent(costs=())
        start.fit(Drift, 200, **FIT)
        agent = make_agent(TrustRegion(0.02, anchor_kl=0.01), costs=(), anchor=start)
        agent.start_at_anchor()
        state = np.random.default_rng(0).normal(size=(5, 2))
        np.testing.assert_array_equal(agent.policy(state).logits, start.policy(state).logits)
        # The first step has no KL to make up for.
        assert agent.fit(Drift, 64, **FIT).history["train/restores"][0] == 0
        with pytest.raises(ValueError, match="the agent has no anchor"):
            start.start_at_anchor()
        for policy in (PolicySettings((7,), ema_momentum=None), PolicySettings((6,), "relu", ema_momentum=None)):
            other = tf_trpo.TRPO.for_env(Drift, policy=policy)
            other.compile(TrustRegion(anchor_kl=0.1), anchor=start)
            with pytest.raises(ValueError, match="must have the network of its anchor"):
                other.start_at_anchor()

    def test_a_policy_that_would_compute_something_else_is_not_started_at_it(self):
        """The initial std is no weight of a std that depends on the observation; names of layers do not matter."""

        def made(initial_std):
            inputs = keras.Input([3])
            network = keras.Model(inputs, keras.layers.Dense(4)(inputs))
            settings = PolicySettings(state_dependent_std=True, initial_std=initial_std, ema_momentum=None)
            return tf_trpo.TRPO.for_env("Pendulum-v1", network=network, policy=settings, seed=0)

        start, same, other = made(0.5), made(0.5), made(1.0)
        start.policy.assign_flat_weights(start.policy.flat_weights + 0.1)
        for agent in (same, other):
            agent.compile(TrustRegion(anchor_kl=0.1), anchor=start)
        same.start_at_anchor()
        np.testing.assert_array_equal(same.policy.flat_weights, start.policy.flat_weights)
        before = other.policy.flat_weights.numpy()
        with pytest.raises(ValueError, match="must have the network of its anchor"):
            other.start_at_anchor()
        np.testing.assert_array_equal(other.policy.flat_weights, before)

    @pytest.mark.parametrize(
        "optimizer", [TrustRegion(anchor_kl=0.1), LAGRANGIAN, ConstrainedTrustRegion(0.1, cost_limits=(3.0, 4.0))]
    )
    @pytest.mark.parametrize(("setting", "value"), [("ema_momentum", 0.9), ("final_std", 0.2)])
    def test_limits_are_refused_for_a_policy_that_is_not_the_one_that_is_used(self, optimizer, setting, value):
        """The average's costs and KL are limited by nothing, and a schedule moves a policy without regard to them."""
        settings = {"ema_momentum": None, setting: value}
        costs = ("a", "b") if optimizer.anchor_kl is None else ()
        agent = tf_trpo.TRPO.for_env("Pendulum-v1", policy=PolicySettings((4,), **settings), costs=costs)
        with pytest.raises(ValueError, match=f"{setting} must be None with an anchor or limits on costs"):
            agent.compile(optimizer, anchor=None if costs else agent)

    def test_what_does_not_fit_is_refused(self):
        agent = make_agent(costs=())
        with pytest.raises(TypeError, match="anchor must be"):
            agent.compile(TrustRegion(anchor_kl=0.1), anchor=3)
        with pytest.raises(ValueError, match="anchor_kl is given without an anchor"):
            agent.compile(TrustRegion(anchor_kl=0.1))
        with pytest.raises(ValueError, match="an anchor is given without anchor_kl"):
            agent.compile(TrustRegion(), anchor=agent)
        agent.anchor = None
        agent.compile(TrustRegion())
        with pytest.raises(ValueError, match="anchor must be None with KLPenalty"):
            agent.compile(tf_trpo.optimizers.KLPenalty(), anchor=agent)
        agent.anchor = None
        with pytest.raises(ValueError, match="the agent observes array of shape"):
            agent.compile(TrustRegion(anchor_kl=0.1), anchor=tf_trpo.TRPO.for_env("CartPole-v1"))
        with pytest.raises(ValueError, match="cost_limits need costs, and the agent has none"):
            agent.compile(ConstrainedTrustRegion())

    def test_what_is_refused_leaves_the_agent_as_it_was(self):
        agent = make_agent(costs=())
        before = [agent.optimizer, agent.policy_optimizer, agent.learner, agent.anchor]
        with pytest.raises(ValueError, match="an anchor is given without anchor_kl"):
            agent.compile(TrustRegion(0.5), "sgd", anchor=agent)
        after = [agent.optimizer, agent.policy_optimizer, agent.learner, agent.anchor]
        assert all(one is other for one, other in zip(after, before, strict=True))


def test_totals_are_over_the_episodes_of_the_rollout_or_over_the_last_five():
    """If many episodes end in a rollout, all of them count; if few do, the last five of both environments count."""

    def rollout(ends, costs):
        truncated, zeros = np.array(ends, bool), np.zeros(np.shape(ends))
        flags = np.zeros_like(truncated), truncated, np.ones_like(truncated)
        return Rollout(zeros, zeros, zeros, *flags, costs=np.array(costs, float)[..., None])

    report = Report(2, 0, ["speed"])
    report.add(rollout(np.ones((75, 2)), np.arange(150).reshape(75, 2)))
    assert report.cost_totals().tolist() == [np.arange(150).mean(), 1.0]
    # The window has the last 100 episodes of both environments, in the order in which they ended.
    assert report.logs(steps=1, iterations=1)["rollout/ep_cost_mean/speed"] == np.arange(50, 150).mean()
    ends, costs = np.zeros((6, 2)), np.zeros((6, 2))
    ends[[1, 5], 0] = ends[3, 1] = 1
    costs[:, 0] = 10
    report.add(rollout(ends, costs))
    # Three episodes end here, with costs 20, 0 and 40; the last two before them count too.
    assert report.cost_totals()[0] == np.mean([148, 149, 20, 0, 40])
    assert report.logs(steps=1, iterations=1)["rollout/cost_total/speed"] == np.mean([148, 149, 20, 0, 40])
    report.add(rollout(np.zeros((6, 2)), np.ones((6, 2))))
    assert report.cost_totals()[0] == np.mean([148, 149, 20, 0, 40])

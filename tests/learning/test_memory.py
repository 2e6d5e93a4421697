"""Agents with a memory: rollouts, samples and values against steps one after the other; limits; learning."""

import re

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
from gymnasium.vector import AutoresetMode

import tf_trpo
from tf_trpo.environments import make_vector_environment
from tf_trpo.learning import UpdateSettings
from tf_trpo.learning.critic import Critic
from tf_trpo.learning.learner import Learner
from tf_trpo.learning.samples import finite_or_first
from tf_trpo.learning.segments import Segmentation, arrangement
from tf_trpo.models.settings import PolicySettings, ValueSettings
from tf_trpo.optimizers import (
    ClippedSurrogate,
    EntropyBonus,
    KLPenalty,
    NaturalDirection,
    TrustRegion,
    VanillaPolicyGradient,
)
from tf_trpo.rollouts import LocalSource, make_actor

T, B, L = 24, 3, 8


class Cue(gym.Env):
    """Shows a number first, and pays for it as the action in the last of 3 to 6 steps."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float64)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, length=None):
        self.length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.cue, self.left = int(self.np_random.integers(2)), self.length or int(self.np_random.integers(3, 7))
        return np.array([2.0 * self.cue - 1.0, 0.0]), {}

    def step(self, action):
        self.left -= 1
        reward = float(self.left == 0 and action == self.cue)
        ends = self.left == 0
        timeout = ends and self.cue == 1
        return np.array([0.0, self.left == 1], np.float64), reward, ends and not timeout, timeout, {}


def make_agent(optimizer=None, *, memory="gru", normalize=True, ema_momentum=None, seed=0, **update):
    how = {"normalize_observations": normalize, "ema_momentum": ema_momentum}
    agent = tf_trpo.TRPO.for_env(
        Cue,
        policy=PolicySettings(hidden_sizes=(5,), memory=memory, memory_units=4, **how),
        value=ValueSettings(value_hidden_sizes=(5,)),
        seed=seed,
    )
    # Outputs begin at 0, so that without this a memory would change nothing.
    random = np.random.default_rng(seed)
    for model in (agent.policy, agent.value_function):
        kernel = model.encoder.output_layer.kernel
        kernel.assign(random.normal(size=kernel.shape))
    settings = {"segment_length": L, "value_epochs": 1, "value_minibatch_size": 16} | update
    agent.compile(optimizer, update=UpdateSettings(**settings), jit_compile=False)
    return agent


def source_of(agent, environment=Cue, num_envs=B):
    environments = make_vector_environment(environment, num_envs)
    return LocalSource(environments, make_actor(agent.policy, num_envs), seed=1)


def collect(agent, source, number=0):
    noise = agent.policy.action_distribution.noise([T, source.num_envs], tf.constant([number, 0])).numpy()
    return source.collect([weight.numpy() for weight in agent.policy.weights], noise)


def resets_and_pauses(rollouts):
    """For each row of consecutive rollouts, whether it is the reset after an episode's end, or a pause."""
    ended, valid = (
        np.concatenate(rows)
        for rows in zip(*((each.terminated | each.truncated, each.valid) for each in rollouts), strict=True)
    )
    resets = np.concatenate([np.zeros_like(ended[:1]), ended[:-1]])
    return resets, ~valid & ~resets


def stepwise(step, initial, rollouts):
    """Outputs and states before each row, by one step after the other through consecutive rollouts."""
    states, outputs, before = initial, [], []
    observations = np.concatenate([rollout.observations[:T] for rollout in rollouts])
    for seen, resets, pauses in zip(observations, *resets_and_pauses(rollouts), strict=True):
        output, new = step(tf.constant(seen), tuple(map(tf.constant, states)))
        outputs.append(output.numpy())
        before.append(states)
        states = [
            np.where(resets[:, None], first, np.where(pauses[:, None], old, after))
            for first, old, after in zip(initial, states, (x.numpy() for x in new), strict=True)
        ]
    return np.array(outputs), [np.array(part) for part in zip(*before, strict=True)], states


class Rows(gym.vector.SyncVectorEnv):
    """In the modes SAME_STEP and DISABLED, the end of one episode is a pause of the others."""

    def __init__(self, mode):
        super().__init__([Cue] * B, autoreset_mode=mode)


@pytest.fixture(
    scope="module",
    params=[("gru", "NEXT_STEP"), ("lstm", "NEXT_STEP"), ("lstm", "SAME_STEP"), ("gru", "DISABLED")],
    ids="-".join,
)
def collected(request):
    memory, mode = request.param
    agent = make_agent(memory=memory)
    environments = make_vector_environment(Rows(AutoresetMode[mode]))
    source = LocalSource(environments, make_actor(agent.policy, B), seed=1)
    rollouts = [collect(agent, source, number) for number in range(2)]
    assert any(rollout.memory.holds.any() for rollout in rollouts) == (mode != "NEXT_STEP")
    return agent, rollouts


def test_rollouts_remember_across_rows_and_rollouts_and_begin_again_with_episodes(collected):
    agent, rollouts = collected
    initial = [part.numpy() for part in agent.policy.initial_states(B)]
    _, before, after = stepwise(agent.policy.step, initial, rollouts)
    for position, part in enumerate(before):
        kept = np.concatenate([rollout.memory.states[position][:-1] for rollout in rollouts])
        np.testing.assert_allclose(kept, part, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(rollouts[-1].memory.states[position][-1], after[position], rtol=1e-5, atol=1e-6)
    resets, pauses = resets_and_pauses(rollouts)
    assert resets.sum() > 16
    np.testing.assert_array_equal(np.concatenate([rollout.memory.ends for rollout in rollouts]), resets)
    np.testing.assert_array_equal(np.concatenate([rollout.memory.holds for rollout in rollouts]), pauses)


@pytest.mark.parametrize("burn_in", [0, 3])
def test_samples_have_the_parameters_that_acted_and_values_go_through_the_whole_rollout(collected, burn_in):
    agent, rollouts = collected
    update = {"normalize_advantages": False, "normalize_rewards": False, "gamma": 0.9}
    agent.compile(update=UpdateSettings(segment_length=L, burn_in=burn_in, **update))
    carry, samples, bootstrapped = agent.learner.first_carry(B), [], []
    # It takes less time than to trace both.
    tf.config.run_functions_eagerly(burn_in > 0)
    try:
        for rollout in rollouts:
            prepared, carry = agent.learner.prepare(rollout, carry)
            samples.append(prepared)
    finally:
        tf.config.run_functions_eagerly(False)
    parameters, _, _ = stepwise(agent.policy.step, [part.numpy() for part in agent.policy.initial_states(B)], rollouts)
    initial = [part.numpy() for part in agent.value_function.encoder.memory.initial(B)]
    values, before, after = stepwise(agent.value_function.step, initial, rollouts)
    for now, expected in zip(carry.states, after, strict=True):
        np.testing.assert_allclose(now, expected, rtol=1e-4, atol=1e-5)
    for number, (rollout, prepared) in enumerate(zip(rollouts, samples, strict=True)):
        rows = slice(number * T, (number + 1) * T)
        by_segment = lambda array: np.swapaxes(array, 0, 1).reshape(B * T // L, L, *array.shape[2:])  # noqa: E731
        counts = np.s_[:, burn_in:]
        batch = prepared.batch
        found = tf.reshape(agent.policy.distribution_parameters(batch.observations), [B * T // L, burn_in + L, -1])
        np.testing.assert_allclose(found[counts], by_segment(parameters[rows]), rtol=1e-4, atol=1e-5)
        [own] = prepared.values
        np.testing.assert_allclose(own.values.numpy()[counts], by_segment(values[rows]), rtol=1e-4, atol=1e-5)
        starts = np.maximum(np.arange(0, T, L) - burn_in, 0)
        for kept, part in zip(own.observations.states, before, strict=True):
            expected = np.swapaxes(part[rows][starts], 0, 1).reshape(kept.shape)
            np.testing.assert_allclose(kept, expected, rtol=1e-4, atol=1e-5)
        again = tf.reshape(agent.value_function(own.observations), [B * T // L, burn_in + L])
        np.testing.assert_allclose(again[counts], by_segment(values[rows]), rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(batch.actions.numpy()[counts], by_segment(rollout.actions))
        # The last row's target is bootstrapped by the state that the last row leaves.
        left = [part[T] for part in before] if number == 0 else after
        bootstrap, _ = agent.value_function.step(tf.constant(rollout.observations[T]), tuple(map(tf.constant, left)))
        target = rollout.rewards[-1] + 0.9 * np.where(rollout.terminated[-1], 0.0, bootstrap)
        found, is_step = np.reshape(own.targets.numpy()[counts], [B, T])[:, -1], rollout.valid[-1]
        np.testing.assert_allclose(found[is_step], target[is_step], rtol=1e-4, atol=1e-5)
        bootstrapped.append(is_step & ~rollout.terminated[-1])
        weights = batch.weights.numpy()
        np.testing.assert_allclose(weights[counts], by_segment(rollout.valid / rollout.valid.sum()), rtol=1e-6)
        assert not weights[:, :burn_in].any()
    assert np.any(bootstrapped)


@pytest.mark.parametrize(
    ("optimizer", "burn_in"),
    [
        (TrustRegion(0.01), 3),
        *[
            pytest.param(optimizer, burn_in, marks=pytest.mark.slow)
            for optimizer, burn_in in (
                (TrustRegion(0.01), 0),
                (TrustRegion(0.05, constraint="max"), 3),
                (TrustRegion(0.01, direction=NaturalDirection(curvature_fraction=0.5)), 0),
                (KLPenalty(penalty_solver="first-order"), 0),
                (VanillaPolicyGradient("sgd"), 0),
                (ClippedSurrogate(entropy=EntropyBonus(0.01)), 0),
                (TrustRegion(0.01, entropy=EntropyBonus(0.1)), 0),
            )
        ],
    ],
    ids=str,
)
def test_an_update_keeps_the_limit_on_the_whole_sequence_and_chunks_change_nothing(optimizer, burn_in):
    found = []
    for chunk_size in (None, 2 * (L + burn_in)):
        agent = make_agent(optimizer, chunk_size=chunk_size, burn_in=burn_in)
        learner, before = agent.learner, agent.policy.flat_weights
        if not found:
            # Equal agents have equal samples.
            rollout = collect(agent, source_of(agent))
            orders = learner.orders(T, B, np.random.default_rng(0))
            prepared, _ = learner.prepare(rollout, learner.first_carry(B))
        old = agent.policy.distribution_parameters(prepared.batch.observations)
        result, _ = learner.update(rollout, learner.first_carry(B), orders, tf.constant(0.0, tf.float64))
        assert result.policy.outcome.accepted
        moved = agent.policy.flat_weights - before
        assert np.abs(moved).max() > 0
        found.append((moved, result))
        # The statistics moved afterwards; they leave the policy's function as it is.
        new = agent.policy.distribution_parameters(prepared.batch.observations)
        kl = agent.policy.action_distribution.kl(tf.cast(old, tf.float64), tf.cast(new, tf.float64))
        weights = prepared.batch.rows.weights.numpy()
        np.testing.assert_allclose(np.sum(weights * kl), result.policy.outcome.kl, rtol=0.02, atol=1e-6)
        if isinstance(optimizer, TrustRegion):
            limited = result.policy.outcome.kl if optimizer.constraint == "mean" else np.max(kl[weights > 0])
            assert limited <= optimizer.max_kl * 1.001
    (whole, first), (chunked, second) = found
    np.testing.assert_allclose(chunked, whole, rtol=2e-3, atol=1e-5)
    np.testing.assert_allclose(second.policy.outcome.kl, first.policy.outcome.kl, rtol=1e-2)
    np.testing.assert_allclose(second.value.loss, first.value.loss, rtol=1e-4)


def row_by_numpy(policy, seen, states):
    """Logits and new states of one row of each environment, in float64 and without TensorFlow."""

    def numbers(*arrays):
        return (np.asarray(array, np.float64) for array in arrays)

    def sigmoid(x):
        return 1.0 / (1.0 + np.exp(-x))

    for layer in policy.encoder.network.layers:
        kernel, bias = numbers(layer.kernel, layer.bias)
        seen = np.tanh(seen @ kernel + bias)
    cell = policy.encoder.memory.cell
    kernel, recurrent, bias = numbers(cell.kernel, cell.recurrent_kernel, cell.bias)
    if isinstance(cell, keras.layers.GRUCell):
        [state] = states
        own, kept = np.split(seen @ kernel + bias[0], 3, 1), np.split(state @ recurrent + bias[1], 3, 1)
        keep, reset = sigmoid(own[0] + kept[0]), sigmoid(own[1] + kept[1])
        state = keep * state + (1.0 - keep) * np.tanh(own[2] + reset * kept[2])
        after = [state]
    else:
        enter, keep, new, leave = np.split(seen @ kernel + states[0] @ recurrent + bias, 4, 1)
        cells = sigmoid(keep) * states[1] + sigmoid(enter) * np.tanh(new)
        state = sigmoid(leave) * np.tanh(cells)
        after = [state, cells]
    kernel, bias = numbers(policy.encoder.output_layer.kernel, policy.encoder.output_layer.bias)
    return state @ kernel + bias, after


def log_probabilities(policy, rollout, burn_in):
    """Of all actions in all rows [T, B, A], where each segment and its burn-in begin with the recorded state."""
    resets, _ = resets_and_pauses([rollout])
    found = []
    for start in range(0, T, L):
        first, logits = max(0, start - burn_in), []
        states = [np.float64(part[first]) for part in rollout.memory.states]
        for t in range(first, start + L):
            row, states = row_by_numpy(policy, rollout.observations[t], states)
            states = [np.where(resets[t][:, None], 0.0, part) for part in states]
            logits.append(row)
        found += logits[start - first :]
    return np.array(found) - np.log(np.exp(found).sum(axis=2, keepdims=True))


@pytest.mark.parametrize(
    ("memory", "constraint", "burn_in"),
    [
        ("gru", "mean", 0),
        ("lstm", "max", 3),
        pytest.param("gru", "max", 3, marks=pytest.mark.slow),
        pytest.param("lstm", "mean", 3, marks=pytest.mark.slow),
    ],
)
def test_the_kl_over_all_rows_in_float64_is_within_the_limit_and_as_it_is_reported(memory, constraint, burn_in):
    optimizer = TrustRegion(0.3, constraint=constraint)
    agent = make_agent(optimizer, memory=memory, normalize=False, burn_in=burn_in)
    source = source_of(agent)
    learner, rollouts = agent.learner, [collect(agent, source, number) for number in range(2)]
    prepared, _ = learner.prepare(rollouts[1], learner.first_carry(B))
    old = log_probabilities(agent.policy, rollouts[1], burn_in)
    outcome = learner.improve_policy(prepared, tf.constant(0.0, tf.float64)).outcome
    # The full step is beyond this limit, so the line search decides.
    assert outcome.accepted
    assert outcome.backtracks > 0
    kl = np.sum(np.exp(old) * (old - log_probabilities(agent.policy, rollouts[1], burn_in)), axis=2)
    kl = kl[rollouts[1].valid]
    limited = np.mean(kl) if constraint == "mean" else np.max(kl)
    assert 0.3 * optimizer.max_kl < limited <= optimizer.max_kl * (1 + 1e-5)
    np.testing.assert_allclose(outcome.kl, np.mean(kl), rtol=1e-5)
    np.testing.assert_allclose(outcome.max_kl_over_states, np.max(kl), rtol=1e-5)


@pytest.mark.slow
def test_double_backprop_gives_the_same_step():
    steps = []
    for kind in ("gauss-newton", "double-backprop"):
        agent = make_agent(TrustRegion(direction=NaturalDirection(fisher_vector_product=kind)))
        learner, before = agent.learner, agent.policy.flat_weights
        prepared, _ = learner.prepare(collect(agent, source_of(agent)), learner.first_carry(B))
        assert learner.improve_policy(prepared, tf.constant(0.0, tf.float64)).outcome.accepted
        steps.append(agent.policy.flat_weights - before)
    np.testing.assert_allclose(steps[1], steps[0], rtol=5e-3, atol=1e-5)


def test_gradients_go_through_the_rows_of_burn_in():
    agent = make_agent(burn_in=3)
    prepared, _ = agent.learner.prepare(collect(agent, source_of(agent)), agent.learner.first_carry(B))
    segments = prepared.batch.observations
    features = tf.cast(segments.observations, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(features)
        parameters = agent.policy.distribution_parameters(segments._replace(observations=features))
        first = tf.reshape(parameters, [len(features), L + 3, -1])[:, 3]
    found = np.abs(tape.gradient(first, features)).max(axis=2)
    # A row counts for the first sample unless an episode ends in between, or the rollout begins there.
    ends = np.cumsum(segments.ends.numpy()[:, 2::-1], axis=1)[:, ::-1] > 0
    reaches = ~ends & ~segments.holds.numpy()[:, :3]
    assert reaches.sum() > B
    np.testing.assert_array_equal(found[:, :3] > 0, reaches)
    assert not found[:, 4:].any()


def test_segments_hold_each_row_once_and_burn_in_the_rows_before():
    rng = np.random.default_rng(0)
    for _ in range(20):
        length, segments, num_envs, burn_in = (int(rng.integers(1, high)) for high in (6, 5, 4, 8))
        num_steps = length * segments
        cut = Segmentation(num_steps, num_envs, length, burn_in)
        numbers = np.arange(num_steps * num_envs).reshape(num_steps, num_envs)
        rows = cut.rows(tf.constant(numbers)).numpy()
        assert rows.shape == (cut.count, burn_in + length)
        assert sorted(rows[:, burn_in:].ravel()) == list(numbers.ravel())
        weights = cut.weights(tf.ones([num_steps, num_envs])).numpy()
        assert weights.sum() == numbers.size
        times, columns = rows // num_envs, rows % num_envs
        assert (columns == columns[:, :1]).all()
        for segment in times:
            start = segment[burn_in]
            assert list(segment) == [max(0, start + i) for i in range(-burn_in, length)]


def test_settings_of_a_memory_are_refused_without_one_and_where_they_do_not_fit():
    flat = tf_trpo.TRPO.for_env(Cue, seed=0)
    for settings in ({"segment_length": 4}, {"burn_in": 1}):
        with pytest.raises(ValueError, match="need a policy with a memory"):
            flat.compile(update=UpdateSettings(**settings))
    agent = make_agent()
    for num_steps in (4, 12):
        with pytest.raises(ValueError, match="num_steps must be a multiple of segment_length, 8"):
            agent.fit(Cue, 10, num_steps=num_steps, verbose=0)
    with pytest.raises(ValueError, match="burn_in must be at most num_steps - segment_length = 16 - 8, got 9"):
        make_agent(burn_in=9).fit(Cue, 10, num_steps=16, verbose=0)
    with pytest.raises(ValueError, match="memory: the settings name lstm, and 'gru' is given"):
        tf_trpo.TRPO.for_env(Cue, memory="gru", policy=PolicySettings(memory="lstm"))
    rollout = collect(agent, source_of(agent))
    with pytest.raises(ValueError, match="its rollout source records no states"):
        agent.learner.prepare(rollout._replace(memory=()), agent.learner.first_carry(B))
    for setting in ("memory_units", "memory_span"):
        with pytest.raises(ValueError, match=f"{setting} must be None without a memory: set"):
            PolicySettings(**{setting: 3})
    with pytest.raises(ValueError, match=r"memory_span must be None with the cell <GRUCell.*, which is used as it is"):
        tf_trpo.TRPO.for_env(Cue, memory=keras.layers.GRUCell(3), memory_span=9.0)
    for arguments, message in (
        ({}, "memory_units must be None without a memory"),
        (
            {"memory": keras.layers.GRUCell(3)},
            "memory_units must be None with the cell <GRUCell.*, which is used as it is",
        ),
        (
            {"memory": "gru", "policy": PolicySettings(memory="gru", memory_units=4)},
            "memory_units: the settings have 4, and 3 is given",
        ),
        ({"memory_span": 8.0}, "memory_units must be None without a memory"),
        (
            {"memory_span": 8.0, "policy": PolicySettings(memory="gru", memory_span=9.0)},
            r"memory_span: the settings have 9\.0, and 8\.0 is given",
        ),
        ({"memory": "gru", "policy": PolicySettings(memory="lstm")}, "the settings name lstm, and 'gru' is given"),
    ):
        with pytest.raises(ValueError, match=message):
            tf_trpo.TRPO.for_env(Cue, memory_units=3, **arguments)
    with pytest.raises(ValueError, match=r"memory and mirror exclude each other.*--no-mirror"):
        PolicySettings(memory="gru", mirror=True)
    for one, anchor, message in (
        (agent, flat, "anchor must be None for a policy with a memory"),
        (flat, agent, "anchor must be a policy without a memory"),
    ):
        with pytest.raises(ValueError, match=message):
            one.compile(TrustRegion(0.01, anchor_kl=0.1), anchor=anchor)
    with pytest.raises(ValueError, match="memory"):
        tf_trpo.TRPO.for_env(Cue, memory="rnn")
    with pytest.raises(ValueError, match="must both have a memory"):
        Learner(agent.policy, [Critic(flat.value_function, None, None)], TrustRegion(), UpdateSettings())
    with pytest.raises(ValueError, match="preconditioner_rank must be 0 with a memory"):
        make_agent(TrustRegion(direction=NaturalDirection(preconditioner_rank=8))).fit(Cue, 10, num_steps=8, verbose=0)
    assert arrangement(None, UpdateSettings(), 7, 3).count == 21


def test_units_can_be_given_next_to_a_memory():
    for memory, settings in (("gru", None), (None, PolicySettings(memory="gru"))):
        agent = tf_trpo.TRPO.for_env(Cue, memory=memory, memory_units=3, policy=settings)
        assert [part.shape.as_list() for part in agent.policy.initial_states(2)] == [[2, 3]]


class Kept(Cue):
    """Keeps the observations and actions of all episodes."""

    def __init__(self):
        super().__init__()
        self.episodes = []

    def reset(self, **given):
        observation, info = super().reset(**given)
        self.episodes.append([])
        self.seen = observation
        return observation, info

    def step(self, action):
        self.episodes[-1].append((self.seen, int(action)))
        self.seen, *others = super().step(action)
        return self.seen, *others


@pytest.mark.parametrize("memory", ["gru", "lstm"])
def test_evaluated_and_predicted_is_the_average_with_a_memory_of_its_own(memory):
    agent = make_agent(memory=memory, ema_momentum=0.5)
    average = agent.policy.__class__.from_config(agent.policy.get_config())
    average.set_weights(agent.policy.get_weights())
    average.assign_flat_weights(np.random.default_rng(1).normal(size=agent.average.theta.shape))
    agent.average.theta.assign(average.flat_weights)
    agent.average.updates.assign(1)
    made = []
    agent.evaluate(lambda: made.append(Kept()) or made[-1], 20, num_envs=1)
    episodes = [episode for environment in made for episode in environment.episodes if episode]
    assert len(episodes) >= 20
    differs = []
    for episode in episodes:
        state, states, others = None, average.initial_states(1), agent.policy.initial_states(1)
        for seen, taken in episode:
            parameters, states = average.step(tf.constant(seen[None]), states)
            of_policy, others = agent.policy.step(tf.constant(seen[None]), others)
            action, state = agent.predict(seen, state)
            assert action == taken == average.actions(parameters)[0]
            for found, part in zip(state, states, strict=True):
                np.testing.assert_allclose(found, part[0], rtol=1e-5, atol=1e-6)
            differs.append(taken != agent.policy.actions(of_policy)[0])
    assert np.any(differs)


@pytest.mark.parametrize(
    ("num_steps", "length"), [(1, 1), (40, 40), (64, 64), (100, 100), (101, 101), (130, 65), (2047, 89), (2048, 64)]
)
def test_by_default_segments_are_as_short_as_they_can_be_from_64_rows_on(num_steps, length):
    settings = UpdateSettings()
    assert settings.segment_length_for(num_steps) == length
    agent = make_agent(segment_length=None)
    assert agent.learner.orders(num_steps, 3, np.random.default_rng(0)).shape == (1, 3 * num_steps // length)


@pytest.mark.parametrize(("num_steps", "near"), [(257, 256), (2053, 2052), (2029, 2028), (2**31 - 1, 2**31 - 2)])
def test_a_number_of_steps_that_only_long_segments_divide_needs_a_segment_length(num_steps, near):
    message = (
        f"num_steps must be a multiple of a number in [64, 256], such as {near}, if segment_length is not given, got "
    )
    with pytest.raises(ValueError, match=re.escape(message + str(num_steps))):
        UpdateSettings().segment_length_for(num_steps)
    assert 64 <= UpdateSettings().segment_length_for(near) <= 256
    assert UpdateSettings(segment_length=num_steps).segment_length_for(num_steps) == num_steps


def test_predict_goes_on_with_the_state_it_gives():
    agent = make_agent()
    random = np.random.default_rng(0)
    observations, states = random.uniform(-1, 1, (6, 2, 2)), agent.policy.initial_states(2)
    state, single = None, [None, None]
    for rows in observations:
        parameters, states = agent.policy.step(tf.constant(rows), states)
        actions, state = agent.predict(rows, state)
        np.testing.assert_array_equal(actions, agent.policy.actions(parameters))
        np.testing.assert_allclose(state[0], states[0], rtol=1e-6)
        for i in range(2):
            action, single[i] = agent.predict(rows[i], single[i])
            assert action == actions[i]
            np.testing.assert_allclose(single[i][0], state[0][i], rtol=1e-6, atol=1e-7)
            # As JSON has it.
            assert agent.predict(rows[i], [single[i][0].tolist()])[0] == agent.predict(rows[i], single[i])[0]
    nan, text, units = np.full(4, np.nan), np.array(["a"] * 4), np.ones(4)
    one = np.where(np.arange(4) == 2, np.inf, 0.0)
    odd = (nan, one, np.full(4, 1e39), 1j * units, text, units > 0, units.astype(object))
    for wrong in (state[0], (), (np.zeros(3),), (*state, *state), *((np.stack([part, part]),) for part in odd)):
        with pytest.raises(ValueError, match="state must be as predict returned it"):
            agent.predict(observations[0], wrong)
    with pytest.raises(ValueError, match="the agent has no memory"):
        tf_trpo.TRPO.for_env(Cue, seed=0).predict(observations[0, 0], (np.zeros(4),))


def test_a_pause_leaves_the_memory_as_it_is(collected):
    """Bit for bit, since the policy goes on as if there was none."""
    _, rollouts = collected
    for rollout in rollouts:
        ends, holds = rollout.memory.ends, rollout.memory.holds
        for part in rollout.memory.states:
            np.testing.assert_array_equal(part[1:][holds], part[:-1][holds])
            assert not part[1:][ends].any()


class Masked(Cue):
    """Forbids one of three actions, another one in each step."""

    observation_space = gym.spaces.Dict(
        cue=Cue.observation_space,
        image=gym.spaces.Box(0, 255, (6, 6, 1), np.uint8),
        action_mask=gym.spaces.MultiBinary(3),
    )
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed, options=options)
        return self.seen(observation), info

    def step(self, action):
        assert self.mask[action]
        observation, *others = super().step(action)
        return self.seen(observation), *others

    def seen(self, observation):
        self.mask = np.ones(3, np.int8)
        self.mask[self.left % 3] = 0
        image = np.full((6, 6, 1), 40 * self.left, np.uint8)
        return {"cue": observation, "image": image, "action_mask": self.mask}


@pytest.mark.slow
def test_other_settings_go_with_a_memory():
    """A Dict with a mask and an image, the value function first, restarts in turn, an average, burn-in, chunks."""
    policy = PolicySettings(hidden_sizes=(5,), memory="gru", memory_units=4, ema_momentum=0.5)
    agent = tf_trpo.TRPO.for_env(Masked, policy=policy, seed=0)
    update = UpdateSettings(segment_length=L, burn_in=4, value_function_first=True, chunk_size=2 * L, value_epochs=2)
    agent.compile(update=update, jit_compile=False)
    history = agent.fit(Masked, 4 * T * B, num_envs=B, num_steps=T, restart_every=1, verbose=0).history
    assert history["train/faults"][-1] == 0
    assert len(history["train/kl_divergence_loss"]) > 3
    assert all(0 < kl <= 0.01 for kl in history["train/kl_divergence_loss"])
    assert 0 <= agent.evaluate(Masked, 5)["mean_return"] <= 1


def test_an_environment_whose_memory_is_not_finite_begins_again_with_the_whole_of_it():
    agent = make_agent(memory="lstm")
    source = source_of(agent)
    rollout = collect(agent, source)
    states = [part + np.float32(0.5) for part in rollout.memory.states]
    states[0][-1, 1, 2] = np.inf
    source.episodes.follow(rollout._replace(memory=rollout.memory._replace(states=tuple(states))))
    last = tuple(part[-1] for part in states)
    found = finite_or_first(tuple(map(tf.constant, last)), agent.policy.initial_states(B))
    assert np.abs(last[1]).min() > 0
    for part, own, then in zip(found, source.episodes.states, last, strict=True):
        expected = np.where(np.arange(B)[:, None] == 1, 0.0, then)
        np.testing.assert_array_equal(part, expected)
        np.testing.assert_array_equal(own, expected)


def test_training_goes_on_after_a_memory_that_is_not_finite():
    agent = make_agent()
    source = source_of(agent)
    collect(agent, source)
    source.episodes.states = tuple(np.full_like(part, np.nan) for part in source.episodes.states)
    learner = agent.learner
    carry = learner.first_carry(B)
    carry = carry._replace(states=tuple(part * np.nan for part in carry.states))
    rollout = collect(agent, source, 1)
    assert all(np.isfinite(part).all() for part in source.episodes.states)
    _, after = learner.prepare(rollout, carry)
    assert all(np.isfinite(part).all() for part in after.states)


@keras.saving.register_keras_serializable("tf_trpo_tests")
class Leaky(keras.layers.Layer):
    """h' = h + (tanh(W x + U h) - h) / 2, without first states of its own."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.state_size = self.units = units

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units), name="kernel")
        self.recurrent = self.add_weight(shape=(self.units, self.units), initializer="orthogonal", name="recurrent")
        self.built = True

    def call(self, inputs, states, training=False):
        state = (states[0] + tf.tanh(inputs @ self.kernel + states[0] @ self.recurrent)) / 2
        return state, [state]

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@pytest.mark.slow
def test_a_cell_of_ones_own_is_trained_saved_and_exported(tmp_path):
    agent = tf_trpo.TRPO.for_env(Cue, policy=PolicySettings(hidden_sizes=(5,)), memory=Leaky(4), seed=0)
    first = agent.policy.encoder.memory.cell.kernel.numpy()
    history = agent.fit(Cue, 4 * T * B, num_envs=B, num_steps=T, verbose=0).history
    assert history["train/faults"][-1] == 0
    assert np.abs(agent.policy.encoder.memory.cell.kernel.numpy() - first).max() > 0
    observation = np.array([1.0, 0.0])
    _, state = agent.predict(observation)
    action, after = agent.predict(observation, state)
    agent.save(tmp_path / "agent.keras")
    again = tf_trpo.load(tmp_path / "agent.keras").predict(observation, state)
    assert again[0] == action
    np.testing.assert_array_equal(again[1][0], after[0])
    folders = {format: agent.export(tmp_path / format, format=format) for format in ("saved_model", "litert", "onnx")}
    act = tf.saved_model.load(str(folders["saved_model"])).signatures["act"]
    served = act(observations=tf.constant(observation[None]), state=tf.constant(state[0][None]))
    assert served["actions"].numpy() == action


@pytest.mark.parametrize("memory", ["gru", pytest.param("lstm", marks=pytest.mark.slow)])
def test_a_cue_is_remembered_until_it_is_asked_for(memory):
    policy = PolicySettings(hidden_sizes=(8,), memory=memory, memory_units=8)
    agent = tf_trpo.TRPO.for_env(lambda: Cue(6), policy=policy, value=ValueSettings((8,)), seed=0)
    update = UpdateSettings(segment_length=16, value_epochs=2)
    agent.compile(TrustRegion(0.05), update=update, jit_compile=False)
    agent.fit(lambda: Cue(6), 8_000, num_envs=8, num_steps=64, verbose=0)
    assert agent.evaluate(lambda: Cue(6), 50)["mean_return"] > 0.98

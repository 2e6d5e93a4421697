"""A clone is the policy of the greatest likelihood, and the first updates keep what it does."""

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

import tf_trpo
from tf_trpo.callbacks import Checkpoint, Evaluate, Progress, TensorBoard
from tf_trpo.demonstrations import Demonstrations, Episode, record
from tf_trpo.learning import UpdateSettings
from tf_trpo.models import PolicySettings


def linear_control(observation):
    """Keeps CartPole's pole up for 500 steps."""
    return int(observation @ [0.2, 0.5, 4.0, 1.5] > 0)


@pytest.fixture(scope="module")
def balanced():
    return record(linear_control, "CartPole-v1", 4)


def table(counts, rng, episodes=12):
    """Steps in which each of a table's actions was taken in each state so often, in a random order."""
    pairs = [
        (state, action) for state, row in enumerate(counts) for action, count in enumerate(row) for _ in range(count)
    ]
    rng.shuffle(pairs)
    parts = np.array_split(np.array(pairs), episodes)
    played = [
        Episode(np.append(part[:, 0], 0), part[:, 1], np.ones(len(part)), terminated=True)
        for part in map(np.array, parts)
    ]
    states, actions = np.shape(counts)
    return Demonstrations(gym.spaces.Discrete(states), gym.spaces.Discrete(actions), played)


class Table(gym.Env):
    observation_space, action_space = gym.spaces.Discrete(3), gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return 0, {}

    def step(self, action):
        return 0, 0.0, False, True, {}


def test_a_table_becomes_the_frequencies_of_the_actions():
    """Of a policy that is a table, the likelihood has one maximum."""
    counts = np.array([[30, 10], [4, 36], [20, 20]])
    agent = tf_trpo.TRPO.for_env(Table, policy=PolicySettings((8,)), seed=0)
    agent.compile(jit_compile=False, update=UpdateSettings(value_epochs=1))
    shown = table(counts, np.random.default_rng(0))
    history = agent.clone(shown, 150, minibatch_size=120, learning_rate=0.03, held_out=0.0, verbose=0)
    assert history.history.keys() == {"loss"}
    frequencies = counts / counts.sum(axis=1, keepdims=True)
    found = tf.nn.softmax(agent.policy.distribution_parameters(np.arange(3)))
    np.testing.assert_allclose(found, frequencies, atol=0.01)
    entropy = -np.sum(counts * np.log(frequencies)) / counts.sum()
    assert min(history.history["loss"]) == pytest.approx(entropy, abs=1e-3)


def test_a_std_that_is_learned_becomes_that_of_the_actions_and_one_with_a_schedule_stays():
    rng, noise = np.random.default_rng(0), 0.3
    states = rng.uniform(-1, 1, (10, 401, 3)).astype(np.float32)
    actions = [
        2.0 * (row[:-1, :1] - 0.5 * row[:-1, 1:2]) / 3 + 2.0 * noise * rng.normal(size=(400, 1)) for row in states
    ]
    rewards = np.zeros(400)
    shown = Demonstrations(
        gym.spaces.Box(-np.array([1, 1, 8.0], np.float32), np.array([1, 1, 8.0], np.float32)),
        gym.spaces.Box(-2.0, 2.0, (1,)),
        [
            Episode(row, action.astype(np.float32), rewards, terminated=False)
            for row, action in zip(states, actions, strict=True)
        ],
    )
    for settings, expected in ({}, noise), ({"initial_std": 0.5, "final_std": 0.1}, 0.5):
        agent = tf_trpo.TRPO.for_env("Pendulum-v1", policy=PolicySettings((8,), **settings), seed=0)
        agent.compile(jit_compile=False, update=UpdateSettings(value_epochs=1))
        agent.clone(shown, 15, learning_rate=0.01, held_out=0.2, verbose=0)
        std = np.exp(agent.policy.action_distribution.log_std.numpy())
        np.testing.assert_allclose(std, expected, rtol=0.1)
        # The means, in half-ranges.
        at = np.array([[0.8, -0.4, 0.0], [-0.5, 0.5, 0.0]], np.float32)
        mean = agent.policy.distribution_parameters(at)[:, 0]
        np.testing.assert_allclose(mean, (at[:, 0] - 0.5 * at[:, 1]) / 3, atol=0.06)


def test_the_best_epoch_on_whole_episodes_that_are_held_out_is_kept(make_agent, balanced):
    """Too large a rate: the last epoch is not the best one."""
    agent = make_agent("CartPole-v1")
    calls = []
    stop = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: calls.append(dict(logs)))
    history = agent.clone(balanced, 6, learning_rate=0.3, held_out=0.3, callbacks=[stop], verbose=0).history
    assert history.keys() == {"loss", "val_loss"}
    assert [logs["val_loss"] for logs in calls] == history["val_loss"]
    assert len(history["val_loss"]) == 6
    losses = []
    for episode in balanced.episodes:
        distribution = agent.policy(episode.observations[:-1])
        losses.append(float(-np.mean(distribution.log_prob(episode.actions))))
    pairs = [(losses[i] + losses[j]) / 2 for i in range(4) for j in range(i)]
    # All episodes have 500 steps; two of the four are held out.
    assert min(abs(min(history["val_loss"]) - pair) for pair in pairs) < 1e-4
    assert int(agent.env_steps) == int(agent.iterations) == 0


def test_a_callback_can_stop_it(make_agent, balanced):
    early = keras.callbacks.EarlyStopping(monitor="val_loss", patience=1, min_delta=10.0)
    assert len(make_agent("CartPole-v1").clone(balanced, 50, callbacks=early, verbose=0).history["loss"]) == 2


@pytest.mark.parametrize(
    "callback",
    [Progress(), Checkpoint("checkpoints", None), Evaluate("CartPole-v1", 100)],
    ids=["progress", "checkpoint", "evaluate"],
)
def test_callbacks_that_count_steps_are_refused(callback, make_agent, balanced):
    with pytest.raises(ValueError, match=f"^{type(callback).__name__} is a callback of fit: cloning takes no env"):
        make_agent("CartPole-v1").clone(balanced, 1, callbacks=callback)


def test_it_is_shown_by_tensorboard(make_agent, balanced, tmp_path):
    agent = make_agent("CartPole-v1")
    history = agent.clone(balanced, 3, callbacks=TensorBoard(tmp_path, histogram_every=1), verbose=0).history
    written = EventAccumulator(str(tmp_path), {"tensors": 0}).Reload()
    losses = [float(tf.make_ndarray(event.tensor_proto)) for event in written.Tensors("loss")]
    np.testing.assert_allclose(losses, history["loss"], rtol=1e-6)
    assert not [tag for tag in written.Tags()["tensors"] if tag.startswith("actions/")]
    assert len(written.Tensors("policy/0_kernel")) == 2


def test_a_pass_that_is_undone_has_no_loss_that_keras_would_take_for_the_best(make_agent, balanced):
    seen = []
    spoil = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(dict(logs)))
    agent = make_agent("CartPole-v1")
    history = agent.clone(balanced, 3, learning_rate=1e38, callbacks=spoil, verbose=0).history
    assert any("loss" not in logs for logs in seen)
    assert {len(values) for values in history.values()} == {3}


def test_values_are_those_of_the_demonstrated_returns(make_agent, balanced):
    """Rewards of 1 in episodes that a time limit cuts: V = 1 / (1 - gamma) everywhere, in units of the scale."""
    agent = make_agent("CartPole-v1", gamma=0.9, value_epochs=10)
    agent.clone(balanced, 1, verbose=0)
    scale = float(agent.return_scale(tf.constant(1.0)))
    returns = np.minimum((1 - 0.9 ** np.arange(1, 501)) / 0.1, 10.0)
    assert scale == pytest.approx(1 / returns.std(), rel=1e-3)
    values = agent.value_function(balanced.episodes[0].observations) / scale
    np.testing.assert_allclose(values[:300], 10.0, rtol=0.1)
    [normalization] = agent.policy.encoder.normalization
    seen = np.concatenate([episode.observations[:-1] for episode in balanced.episodes])
    np.testing.assert_allclose(normalization.mean, seen.mean(axis=0), atol=1e-4)


def test_the_first_updates_do_not_lose_it(make_agent, balanced):
    agent = make_agent("CartPole-v1", policy={"ema_momentum": 0.9}, value_epochs=10)
    agent.fit("CartPole-v1", 256, num_steps=256, verbose=0)
    agent.clone(balanced, 30, learning_rate=0.01, verbose=0)
    cloned = agent.evaluate("CartPole-v1", 5)["mean_return"]
    assert cloned > 490
    history = agent.fit("CartPole-v1", 3 * 1024, num_steps=1024, verbose=0).history
    assert max(history["train/normalization_kl"]) < 1e-3
    assert agent.evaluate("CartPole-v1", 5)["mean_return"] > 490


def test_what_cannot_be_cloned_is_refused(make_agent, balanced):
    agent = make_agent("CartPole-v1")
    for settings, message in (
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"minibatch_size": 0}, "minibatch_size must be at least 1"),
        ({"held_out": 1.0}, r"held_out must be in \[0, 1\), got 1.0"),
        ({"learning_rate": 0.0}, "learning_rate must be positive and finite"),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            agent.clone(balanced, **{"epochs": 1} | settings)
    with pytest.raises(ValueError, match="an agent with a memory cannot imitate"):
        tf_trpo.TRPO.for_env("CartPole-v1", policy=PolicySettings((4,)), memory="gru").clone(balanced, 1)
    with pytest.raises(ValueError, match="the demonstrations show"):
        make_agent("Pendulum-v1").clone(balanced, 1)
    with pytest.raises(ValueError, match="an agent with costs cannot be cloned"):
        tf_trpo.TRPO.for_env("CartPole-v1", policy=PolicySettings((4,)), costs=["speed"]).clone(balanced, 1)


def test_a_fit_that_is_never_finite_changes_nothing(make_agent, balanced, variables_of, assert_same_weights):
    agent = make_agent("CartPole-v1")
    before = variables_of(agent)
    broken = agent.policy.action_distribution
    log_prob = broken.log_prob
    broken.log_prob = lambda parameters, actions: np.nan * log_prob(parameters, actions)
    with pytest.raises(ValueError, match="the likelihood of the demonstrated actions was never finite"):
        agent.clone(balanced, 2, verbose=0)
    assert_same_weights(variables_of(agent), before)


def test_a_clone_that_is_interrupted_changes_nothing(make_agent, balanced, variables_of, assert_same_weights):
    def interrupt(epoch, logs):
        if epoch == 1:
            raise KeyboardInterrupt

    agent = make_agent("CartPole-v1")
    before = variables_of(agent)
    with pytest.raises(KeyboardInterrupt):
        agent.clone(balanced, 3, callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=interrupt)], verbose=0)
    assert_same_weights(variables_of(agent), before)

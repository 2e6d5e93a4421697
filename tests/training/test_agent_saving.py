"""Saving and loading: the agent comes back as it was, and learns on."""

import os
import zipfile

import keras
import numpy as np
import pytest

import tf_trpo

SETTINGS = {
    "gamma": 0.9,
    "gae_lambda": 0.8,
    "normalize_advantages": False,
    "advantage_clip": 2.5,
    "normalize_rewards": False,
    "value_target": "reward-to-go",
    "value_epochs": 3,
    "value_minibatch_size": 16,
}
OBSERVATIONS = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)


def fit(agent):
    return agent.fit("Pendulum-v1", 64, num_envs=2, num_steps=16, verbose=0).history


def make_agent():
    agent = tf_trpo.TRPO.for_env(
        "Pendulum-v1", hidden_sizes=(8,), value_hidden_sizes=(6,), initial_std=0.5, ema_momentum=0.7, seed=0
    )
    agent.compile(
        tf_trpo.optimizers.TrustRegion(0.02, cg_iterations=5, backtrack_ratio=0.5),
        keras.optimizers.SGD(0.01, momentum=0.9),
        jit_compile=False,
        **SETTINGS,
    )
    return agent


@pytest.fixture(scope="module")
def saved_and_loaded(tmp_path_factory):
    agent = make_agent()
    fit(agent)
    path = tmp_path_factory.mktemp("agent") / "agent.keras"
    agent.save(path)
    return agent, tf_trpo.load(path)


def test_every_weight_and_counter_comes_back(saved_and_loaded, assert_same_weights):
    agent, loaded = saved_and_loaded
    assert isinstance(loaded, tf_trpo.TRPO)
    assert_same_weights(loaded.get_weights(), agent.get_weights())
    assert loaded.iterations.numpy() == agent.iterations.numpy() == 2
    assert loaded.env_steps.numpy() == agent.env_steps.numpy() == 64
    assert loaded.policy.encoder.normalization.count.numpy() == 64


def test_actions_and_values_are_the_same(saved_and_loaded):
    agent, loaded = saved_and_loaded
    np.testing.assert_array_equal(loaded.predict(OBSERVATIONS), agent.predict(OBSERVATIONS))
    sampled = [one.predict(OBSERVATIONS, stochastic=True, seed=3) for one in (agent, loaded)]
    np.testing.assert_array_equal(*sampled)
    assert not np.array_equal(sampled[0], agent.predict(OBSERVATIONS))
    np.testing.assert_array_equal(loaded.value_function(OBSERVATIONS), agent.value_function(OBSERVATIONS))


def test_compile_settings_come_back(saved_and_loaded):
    _, loaded = saved_and_loaded
    assert loaded.compiled
    assert loaded.jit_compile is False
    assert loaded.settings == tf_trpo.training.UpdateSettings(**SETTINGS)
    assert loaded.policy_optimizer.get_config() == make_agent().policy_optimizer.get_config()
    assert isinstance(loaded.optimizer, keras.optimizers.SGD)
    assert loaded.optimizer.momentum == 0.9
    assert float(loaded.optimizer.learning_rate) == pytest.approx(0.01)


def test_the_state_of_the_value_optimizer_comes_back(saved_and_loaded):
    agent, loaded = saved_and_loaded
    assert loaded.optimizer.iterations.numpy() == 2 * 3 * 2
    momenta = [np.abs(variable.numpy()).max() for variable in agent.optimizer.variables[2:]]
    assert min(momenta) > 0
    for one, other in zip(loaded.optimizer.variables, agent.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, other)


def test_learning_goes_on_as_if_nothing_had_happened(saved_and_loaded, assert_same_weights):
    agent, loaded = saved_and_loaded
    histories = [fit(one) for one in (agent, loaded)]
    assert histories[0]["time/iterations"] == histories[1]["time/iterations"] == [3, 4]
    assert histories[0]["train/value_loss"] == histories[1]["train/value_loss"]
    assert_same_weights(loaded.get_weights(), agent.get_weights())


def test_an_agent_with_its_own_networks_comes_back(tmp_path):
    inputs = keras.Input((4,))
    network = keras.Model(inputs, keras.layers.Dense(5, "relu")(keras.layers.LayerNormalization()(inputs)))
    agent = tf_trpo.TRPO.for_env("CartPole-v1", network=network, value_hidden_sizes=(), normalize_observations=False)
    agent.save(tmp_path / "agent.keras")
    loaded = tf_trpo.load(tmp_path / "agent.keras")
    observations = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_array_equal(loaded(observations).logits, agent(observations).logits)
    assert loaded.jit_compile is True
    assert loaded.settings == tf_trpo.training.UpdateSettings()


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    agent = make_agent()
    path = tmp_path / "agent.keras"
    agent.save(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    for place in ((tf_trpo.TRPO, "save_own_variables"), (os, "fsync")):
        with monkeypatch.context() as patch:
            patch.setattr(*place, full)
            with pytest.raises(OSError, match="No space left"):
                agent.save(path)
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]


def test_a_file_with_a_weight_that_is_not_finite_is_refused(tmp_path):
    agent = make_agent()
    weight = agent.policy.trainable_weights[0]
    weight.assign(np.full(weight.shape, np.nan))
    keras.Model.save(agent, tmp_path / "agent.keras")
    with pytest.raises(ValueError, match="is not finite"):
        tf_trpo.load(tmp_path / "agent.keras")


def write_another_model(path):
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(path)


def write_another_archive(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("something.txt", "else")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("missing.keras", lambda path: None),
        ("folder.keras", lambda path: path.mkdir()),
        ("text.keras", lambda path: path.write_text("not an agent")),
        ("text.h5", lambda path: path.write_text("not an agent")),
        ("text.txt", lambda path: path.write_text("not an agent")),
        ("another_model.keras", write_another_model),
        ("another_archive.keras", write_another_archive),
    ],
)
def test_anything_else_is_refused_with_its_name(tmp_path, name, write):
    write(tmp_path / name)
    with pytest.raises(ValueError, match=name):
        tf_trpo.load(tmp_path / name)

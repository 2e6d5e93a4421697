"""Saving and loading: the agent comes back as it was, whatever its algorithm, and learns on."""

import dataclasses
import os
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_trpo
from tf_trpo.learning import UpdateSettings
from tf_trpo.optimizers import (
    AdaptiveRadius,
    Backtracking,
    ClippedSurrogate,
    KLPenalty,
    NaturalDirection,
    NaturalPolicyGradient,
    PolicyOptimizer,
    Proposal,
    State,
    TrustRegion,
    VanillaPolicyGradient,
    without_line_search,
)
from tf_trpo.training import TrainingFailedError

OBSERVATIONS = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
OPTIMIZER = TrustRegion(
    0.02,
    radius=AdaptiveRadius(),
    direction=NaturalDirection(cg_iterations=5),
    search=Backtracking(backtrack_ratio=0.5),
)
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


def fit(agent, environment="Pendulum-v1"):
    return agent.fit(environment, 64, num_envs=2, num_steps=16, verbose=0).history


@pytest.fixture(scope="module")
def saved_and_loaded(make_agent, tmp_path_factory):
    optimizer, policy = keras.optimizers.SGD(0.01, momentum=0.9), {"initial_std": 0.5, "ema_momentum": 0.7}
    agent = make_agent("Pendulum-v1", OPTIMIZER, optimizer, policy=policy, **SETTINGS)
    fit(agent)
    path = tmp_path_factory.mktemp("agent") / "agent.keras"
    agent.save(path)
    return agent, tf_trpo.load(path)


def test_every_variable_setting_and_action_comes_back(saved_and_loaded, variables_of, assert_same_weights):
    agent, loaded = saved_and_loaded
    assert isinstance(loaded, tf_trpo.TRPO)
    assert_same_weights(variables_of(loaded), variables_of(agent))
    assert loaded.iterations.numpy() == agent.iterations.numpy() == 2
    assert loaded.env_steps.numpy() == agent.env_steps.numpy() == 64
    assert loaded.optimizer.iterations.numpy() == 2 * 3 * 2
    assert min(np.abs(variable.numpy()).max() for variable in loaded.optimizer.variables[2:]) > 0
    assert loaded.learner.state()["policy optimizer"][0] != 0.02
    assert loaded.compiled
    assert loaded.jit_compile is False
    assert loaded.update_settings == UpdateSettings(**SETTINGS)
    assert loaded.policy_optimizer == OPTIMIZER
    assert isinstance(loaded.optimizer, keras.optimizers.SGD)
    assert loaded.optimizer.momentum == 0.9
    sampled = [one.predict(OBSERVATIONS, stochastic=True, seed=3) for one in (agent, loaded)]
    np.testing.assert_array_equal(*sampled)
    assert not np.array_equal(sampled[0], agent.predict(OBSERVATIONS))
    np.testing.assert_array_equal(loaded.predict(OBSERVATIONS), agent.predict(OBSERVATIONS))
    np.testing.assert_array_equal(loaded.value_function(OBSERVATIONS), agent.value_function(OBSERVATIONS))


def test_learning_goes_on_as_if_nothing_had_happened(saved_and_loaded, variables_of, assert_same_weights):
    histories = [fit(one) for one in saved_and_loaded]
    assert histories[0]["time/iterations"] == histories[1]["time/iterations"] == [3, 4]
    for figure in ("train/value_loss", "train/entropy"):
        assert histories[0][figure] == histories[1][figure]
    assert_same_weights(*map(variables_of, saved_and_loaded))


def test_the_rate_of_the_default_value_optimizer_comes_back_as_it_is_now(make_agent, tmp_path):
    agent = make_agent("CartPole-v1", value_learning_rate=0.25)
    agent.optimizer.learning_rate = 0.125
    agent.save(tmp_path / "agent.keras")
    loaded = tf_trpo.load(tmp_path / "agent.keras")
    assert float(loaded.optimizer.learning_rate) == 0.125
    assert loaded.update_settings.value_learning_rate is None


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(make_agent, tmp_path, monkeypatch):
    agent, path = make_agent("Pendulum-v1"), tmp_path / "agent.keras"
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


def test_a_weight_that_is_not_finite_is_neither_saved_nor_exported_nor_loaded(make_agent, tmp_path):
    agent, path = make_agent("Pendulum-v1"), tmp_path / "agent.keras"
    weight = agent.policy.trainable_weights[0]
    weight.assign(np.full(weight.shape, np.nan))
    for write in (agent.save, agent.export):
        with pytest.raises(TrainingFailedError, match="is not finite"):
            write(path)
    assert not any(tmp_path.iterdir())
    keras.Model.save(agent, path)
    with pytest.raises(ValueError, match="is not finite"):
        tf_trpo.load(path)


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
        ("another_model.keras", lambda path: keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(path)),
        ("another_archive.keras", write_another_archive),
    ],
)
def test_anything_else_is_refused_with_its_name(tmp_path, name, write):
    write(tmp_path / name)
    with pytest.raises(ValueError, match=name):
        tf_trpo.load(tmp_path / name)


@keras.saving.register_keras_serializable(package="tests")
@dataclasses.dataclass(frozen=True)
class Counting(PolicyOptimizer):
    """Moves nothing, and counts its steps."""

    def make_state(self, policy):
        return State(adapted=tf.Variable(0.0, dtype=tf.float64))

    def propose(self, objective, state, progress):
        state.adapted.assign_add(1.0)
        return Proposal(objective.gradient(), without_line_search(objective, objective.theta))


def moved(agent):
    """The agent, with every number that its policy optimizer remembers one higher."""
    for variable in agent.learner.variables()["policy optimizer"]:
        variable.assign_add(tf.ones_like(variable))
    return agent


@pytest.mark.parametrize(
    "optimizer",
    [
        TrustRegion(0.02, final_max_kl=0.001),
        NaturalPolicyGradient(0.1),
        VanillaPolicyGradient(),
        VanillaPolicyGradient("sgd"),
        KLPenalty(penalty_coefficient=100.0),
        KLPenalty(penalty_coefficient=100.0, penalty_solver="first-order"),
        ClippedSurrogate(ppo_final_learning_rate=0.0),
    ],
    ids=str,
)
def test_every_algorithm_comes_back_with_its_state(optimizer, make_agent, variables_of, assert_same_weights, tmp_path):
    agent = moved(make_agent("CartPole-v1", optimizer))
    agent.save(tmp_path / "agent.keras")
    loaded = tf_trpo.load(tmp_path / "agent.keras")
    assert loaded.policy_optimizer == optimizer
    assert_same_weights(variables_of(loaded), variables_of(agent))


def test_one_of_a_user_does_so_too_and_weights_alone_hold_its_state(make_agent, tmp_path):
    agent, other = (make_agent("CartPole-v1", Counting(), seed=seed) for seed in (0, 1))
    fit(agent, "CartPole-v1")
    agent.save(tmp_path / "agent.keras")
    agent.save_weights(tmp_path / "agent.weights.h5")
    other.load_weights(tmp_path / "agent.weights.h5")
    for one in (agent, other, tf_trpo.load(tmp_path / "agent.keras")):
        assert one.policy_optimizer == Counting()
        assert one.learner.state()["policy optimizer"] == [int(agent.iterations)]


@pytest.mark.parametrize(
    ("saved", "other"),
    [
        (VanillaPolicyGradient(), TrustRegion()),
        (VanillaPolicyGradient("adam"), VanillaPolicyGradient("sgd")),
        # One number each, but not of the same kind.
        (TrustRegion(radius=AdaptiveRadius()), KLPenalty()),
        (TrustRegion(), KLPenalty()),
    ],
    ids=["none", "another Keras optimizer", "same shapes", "from none"],
)
def test_weights_go_without_their_state_into_an_agent_of_another_algorithm(
    saved, other, make_agent, assert_same_weights, tmp_path
):
    agent = moved(make_agent("CartPole-v1", saved))
    agent.save_weights(tmp_path / "agent.weights.h5")
    loaded = make_agent("CartPole-v1", other, seed=1)
    before = loaded.learner.state()["policy optimizer"]
    with pytest.warns(UserWarning, match="policy optimizer's state is not loaded"):
        loaded.load_weights(tmp_path / "agent.weights.h5")
    assert_same_weights(loaded.get_weights(), agent.get_weights())
    assert_same_weights(loaded.learner.state()["policy optimizer"], before)


def test_a_file_that_holds_no_agent_is_refused(make_agent, tmp_path):
    with pytest.raises(ValueError, match=r"agent\.h5: an agent is saved as a \.keras file; name it .*agent\.keras$"):
        make_agent("Pendulum-v1").save(tmp_path / "agent.h5")
    assert not list(tmp_path.iterdir())

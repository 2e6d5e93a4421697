"""What stays when an agent is compiled again, and what may not be set in another way."""

import dataclasses

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_trpo
from tf_trpo.learning import UpdateSettings
from tf_trpo.models import PolicySettings, ValueSettings
from tf_trpo.models.making import make_policy, make_value_function
from tf_trpo.optimizers import AdaptiveRadius, ClippedSurrogate, TrustRegion
from tf_trpo.training import CompiledAgent
from tf_trpo.training.identity import check_unchanged

OBSERVATION = np.float32([0.5, -0.5, 1.0])


def fit(agent, steps=32, **arguments):
    return agent.fit("Pendulum-v1", steps, **{"num_envs": 2, "num_steps": 16, "verbose": 0, **arguments}).history


def small_models():
    spaces = gym.spaces.Box(-1, 1, (3,)), gym.spaces.Discrete(2)
    policy = make_policy(PolicySettings((4,)), *spaces, seed=0)
    return policy, make_value_function(PolicySettings((4,)), ValueSettings((4,)), spaces[0], seed=0)


@pytest.fixture
def agent(make_agent):
    return make_agent("Pendulum-v1")


def test_a_refused_compile_changes_nothing(agent, make_agent):
    agent.compile(update=UpdateSettings(value_learning_rate=0.02))
    near_nothing = TrustRegion(anchor_kl=0.1)
    with pytest.raises(ValueError, match="anchor"):
        agent.compile(near_nothing, update=UpdateSettings(value_learning_rate=0.5))
    assert float(agent.optimizer.learning_rate) == np.float32(0.02)
    never = tf_trpo.TRPO(*small_models())
    with pytest.raises(ValueError, match="anchor"):
        never.compile(near_nothing)
    assert not never.compiled
    make_agent("Pendulum-v1").compile(value_optimizer="sgd")


@dataclasses.dataclass(frozen=True)
class Unsaveable(TrustRegion):
    """Has a setting that no file can hold."""

    handle: object = dataclasses.field(default_factory=object)


class Ratio(keras.optimizers.schedules.LearningRateSchedule):
    """Has no config."""

    def __call__(self, step):
        return 0.01


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (lambda: {"policy_optimizer": Unsaveable()}, "policy optimizer"),
        (lambda: {"value_optimizer": keras.optimizers.Adam(Ratio())}, "value optimizer"),
    ],
)
def test_parts_that_cannot_be_saved_are_named_and_change_nothing(arguments, name, agent):
    before = agent.compiled_with, agent.learner, agent.optimizer, agent.policy_optimizer
    never = tf_trpo.TRPO(*small_models())
    for each in (agent, never):
        with pytest.raises(ValueError, match=f"^the {name} cannot be saved: "):
            each.compile(**arguments())
    assert (agent.compiled_with, agent.learner, agent.optimizer, agent.policy_optimizer) == before
    check_unchanged(agent)
    agent.compile()
    assert not never.compiled
    never.compile()


@pytest.mark.parametrize("policy_optimizer", [TrustRegion(radius=AdaptiveRadius()), ClippedSurrogate()])
def test_layers_can_be_frozen_and_unfrozen_before_compile(policy_optimizer, make_agent, assert_same_weights, tmp_path):
    agent = make_agent("Pendulum-v1", policy_optimizer, policy={"ema_momentum": 0.7})
    count, [layer] = len(agent.weights), agent.policy.encoder.network.layers
    fit(agent)
    state = agent.average.updates.numpy()
    agent.compile()
    assert agent.average.updates.numpy() == state == 1
    layer.trainable = False
    with pytest.raises(ValueError, match=r"other weights of the policy are trainable .*: call compile again"):
        agent.predict(OBSERVATION)
    agent.compile()
    assert agent.average.updates.numpy() == 0
    assert len(agent.weights) == count
    fit(agent)
    agent.save(tmp_path / "agent.keras")
    loaded = tf_trpo.load(tmp_path / "agent.keras")
    assert_same_weights(loaded.get_weights(), agent.get_weights())
    np.testing.assert_array_equal(loaded.predict(OBSERVATION), agent.predict(OBSERVATION))
    layer.trainable = True
    agent.compile()
    fit(agent)
    assert agent.average.updates.numpy() == 1


def test_another_momentum_takes_effect(agent):
    agent.ema_momentum = 0.3
    agent.compile()
    assert agent.average.momentum == 0.3
    agent.ema_momentum = None
    agent.compile()
    assert agent.average is None
    fit(agent)


def test_a_value_optimizer_of_other_weights_is_refused(agent):
    layer = agent.value_function.encoder.output_layer
    layer.trainable = False
    agent.compile(value_optimizer="adam")
    layer.trainable = True
    before = agent.compiled_with
    with pytest.raises(ValueError, match=r"^value_optimizer was built for other weights, .*: give a new one$"):
        agent.compile()
    assert agent.compiled_with is before
    agent.compile(value_optimizer="adam")
    fit(agent)


def test_replaced_layers_are_no_weights_of_the_agent(agent):
    agent.ema_momentum = None
    agent.compile(TrustRegion(anchor_kl=0.1), anchor=agent)
    weights = agent.get_weights()
    agent.compile(anchor=agent)
    assert len(agent.get_weights()) == len(weights)
    agent.set_weights(weights)
    agent.anchor = None
    assert len(agent.get_weights()) == len(weights) - len(agent.policy.weights)


@pytest.mark.parametrize(
    "learn",
    [
        lambda agent: fit(agent),
        lambda agent: agent.clone(None),
        lambda agent: agent.imitate(None),
        lambda agent: agent.load_checkpoint("checkpoints"),
    ],
)
def test_an_agent_that_was_never_compiled_says_so(learn, agent):
    # No two agents with a learner have the same weights.
    other = tf_trpo.TRPO.from_config(agent.get_config())
    with pytest.raises(ValueError, match=r"the agent is not compiled.*: call compile first$"):
        learn(other)


def test_what_is_not_named_stays(make_agent, variables_of, assert_same_weights):
    agent = make_agent("Pendulum-v1", TrustRegion(radius=AdaptiveRadius()))
    for part in ("value optimizer", "policy optimizer"):
        for variable in agent.learner.variables()[part]:
            variable.assign(variable + 1)
    optimizer, settings, policy_optimizer = agent.optimizer, agent.update_settings, agent.policy_optimizer
    before = variables_of(agent)
    agent.compile()
    assert_same_weights(variables_of(agent), before)
    assert (agent.optimizer, agent.update_settings, agent.policy_optimizer) == (optimizer, settings, policy_optimizer)
    assert agent.jit_compile is False

    agent.compile(TrustRegion(max_kl=0.02))
    assert agent.optimizer is optimizer
    assert int(optimizer.iterations) > 0
    assert agent.update_settings == settings
    agent.compile(update=dataclasses.replace(settings, gamma=0.9))
    assert agent.policy_optimizer == TrustRegion(max_kl=0.02)
    agent.compile(value_optimizer="sgd", jit_compile=True)
    assert isinstance(agent.optimizer, keras.optimizers.SGD)
    assert agent.update_settings.gamma == 0.9
    assert agent.jit_compile is True


@pytest.mark.parametrize(
    ("optimizer", "other", "last"),
    [
        (TrustRegion(0.02, radius=AdaptiveRadius()), TrustRegion(0.05, radius=AdaptiveRadius()), 0.05),
        (ClippedSurrogate(ppo_learning_rate=0.1), ClippedSurrogate(ppo_learning_rate=0.2), np.float32(0.2)),
        (TrustRegion(), TrustRegion(0.03, radius=AdaptiveRadius()), 0.03),
    ],
)
def test_a_policy_optimizer_that_is_set_begins_with_a_state_of_its_own(optimizer, other, last, make_agent):
    agent = make_agent("Pendulum-v1", optimizer)
    agent.policy_optimizer = other
    agent.compile()
    state = [variable.numpy() for variable in agent.learner.variables()["policy optimizer"]]
    assert last in [value for value in state if value.shape == ()]


def test_the_value_optimizer_that_stays_gets_a_rate_that_is_named(agent):
    optimizer = agent.optimizer
    agent.compile(update=UpdateSettings(value_learning_rate=0.02))
    assert agent.optimizer is optimizer
    assert float(optimizer.learning_rate) == np.float32(0.02)
    agent.compile(update=UpdateSettings(gamma=0.9))
    assert float(optimizer.learning_rate) == np.float32(0.02)
    # The rate that the first optimizer had.
    agent.compile(update=UpdateSettings(value_learning_rate=1e-3))
    assert float(optimizer.learning_rate) == np.float32(1e-3)
    agent.compile(value_optimizer="sgd")
    assert agent.update_settings.value_learning_rate is None
    agent.compile(value_optimizer=keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)))
    with pytest.raises(ValueError, match=r"^value_learning_rate needs a value optimizer without a schedule"):
        agent.compile(update=UpdateSettings(value_learning_rate=0.02))


def itself(agent):
    return agent


CHANGES = {
    "policy_optimizer/max_kl": (itself, "policy_optimizer", TrustRegion(max_kl=0.5), "None to 0.5"),
    "update_settings/value_epochs": (itself, "update_settings", UpdateSettings(value_minibatch_size=32), "2 to 10"),
    "optimizer/class_name": (itself, "optimizer", keras.optimizers.SGD(0.1), "Adam to SGD"),
    "optimizer": (itself, "optimizer", keras.optimizers.Adam(0.1), "another one with the same settings"),
    "jit_compile": (itself, "jit_compile", True, "False to True"),
    "RunningNormalization/clip": (lambda agent: agent.policy.encoder.normalization[0], "clip", 5.0, "10.0 to 5.0"),
    "Dense/activation": (lambda agent: agent.policy.encoder.network.layers[0], "activation", tf.nn.relu, "tanh to "),
    "Dense/trainable": (lambda agent: agent.value_function.encoder.output_layer, "trainable", False, "True to False"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_set_after_compile_is_refused_until_compile_is_called(agent, name):
    find, attribute, value, sides = CHANGES[name]
    setattr(find(agent), attribute, value)
    with pytest.raises(ValueError, match=f"{name} was changed after compile, .*{sides}.*: call compile again"):
        fit(agent)
    agent.compile()
    check_unchanged(agent)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda agent: agent.compile(TrustRegion(max_kl=0.2)), "policy_optimizer"),
        (lambda agent: agent.compile(), "compile"),
        (lambda agent: setattr(agent, "update_settings", UpdateSettings(gamma=0.5)), "update_settings"),
    ],
)
def test_what_is_set_within_a_fit_is_refused(agent, change, name):
    changing = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: change(agent))
    with pytest.raises(ValueError, match=f"^{name} has no effect on a fit that has begun: "):
        fit(agent, 96, callbacks=[changing])
    assert int(agent.iterations) == 1


def test_to_run_eagerly_is_refused_with_the_way_to_do_so(agent):
    agent.run_eagerly = True
    with pytest.raises(ValueError, match=r"^run_eagerly has no effect: call tf.config.run_functions_eagerly"):
        fit(agent)


def test_other_variables_are_refused(agent, make_agent):
    agent.policy.encoder.output_layer = make_agent("Pendulum-v1").policy.encoder.output_layer
    with pytest.raises(ValueError, match="call compile again"):
        fit(agent)


def test_a_learning_rate_takes_effect_and_is_no_change(agent):
    agent.optimizer.learning_rate = 0.0
    before = agent.value_function.encoder.output_layer.kernel.numpy()
    assert fit(agent)["train/learning_rate"] == [0.0]
    np.testing.assert_array_equal(agent.value_function.encoder.output_layer.kernel, before)


def test_arguments_of_another_type_are_refused_by_name(agent):
    wrong = {"num_steps": 256.0, "total_steps": "x", "seed": 1.5, "num_envs": True}
    wrong |= {"schedule_steps": 1.5, "max_faults": 0.5, "restart_every": None}
    for name, value in wrong.items():
        with pytest.raises(TypeError, match=f"{name} must be a whole number, got {value!r}"):
            agent.fit(tf_trpo, **{"total_steps": 10, "verbose": 0, name: value})
    assert fit(agent, np.int64(32), num_steps=np.int32(16), seed=np.uint8(3))


def test_an_agent_without_demonstrations_and_a_fit_can_be_compiled():
    agent = CompiledAgent(*small_models())
    agent.compile(TrustRegion(0.02))
    assert agent.policy_optimizer.max_kl == 0.02

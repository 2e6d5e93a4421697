"""Agents for an environment's spaces: how they are made and compiled, and what is refused in words."""

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_trpo
from tf_trpo.distributions import Categorical, Gaussian
from tf_trpo.learning import UpdateSettings
from tf_trpo.models import MirrorSymmetry
from tf_trpo.models.settings import PolicySettings, ValueSettings
from tf_trpo.optimizers import TrustRegion
from tf_trpo.spaces import observation_spec


class Spaces(gym.Env):
    def __init__(self, observations, actions):
        self.observation_space, self.action_space = observations, actions


BOX = gym.spaces.Box(-1, 1, (3,), np.float32)
TWO = gym.spaces.Discrete(2)


def for_spaces(observations, actions, *, networks=(None, None), value=None, **policy):
    return tf_trpo.TRPO.for_env(
        lambda: Spaces(observations, actions),
        policy=PolicySettings(**policy),
        value=value,
        network=networks[0],
        value_network=networks[1],
        seed=0,
    )


def test_discrete_actions_make_a_categorical_policy_counting_from_the_spaces_start():
    distribution = for_spaces(BOX, gym.spaces.Discrete(4, start=-1)).policy.action_distribution
    assert isinstance(distribution, Categorical)
    assert (distribution.num_outputs, distribution.first_action) == (4, -1)


def test_boxes_of_actions_make_a_gaussian_policy_with_their_bounds_and_shape():
    low, high = np.float32([[-1, -2], [-3, -np.inf]]), np.float32([[1, 2], [3, np.inf]])
    distribution = for_spaces(BOX, gym.spaces.Box(low, high), initial_std=0.3).policy.action_distribution
    assert isinstance(distribution, Gaussian)
    assert distribution.action_low == low.tolist()
    assert distribution.action_high == high.tolist()
    assert distribution.initial_std == 0.3


@pytest.mark.parametrize(
    "space",
    [
        BOX,
        gym.spaces.Box(0, 255, (8, 8, 3), np.uint8),
        gym.spaces.Discrete(5),
        gym.spaces.Dict({"place": BOX, "kind": TWO}),
    ],
)
def test_observations_stay_as_the_space_has_them(space):
    agent = for_spaces(space, TWO)
    assert agent.policy.encoder.spec == agent.value_function.encoder.spec == observation_spec(space)
    batch = tf.nest.map_structure(lambda *rows: np.stack(rows), *[space.sample() for _ in range(7)])
    assert agent(batch).batch_shape == (7,)
    assert agent.value_function(batch).shape == (7,)
    assert agent.predict(batch).shape == (7,)
    assert TWO.contains(agent.predict(space.sample()))


def test_the_settings_reach_the_models_which_share_no_weight():
    agent = for_spaces(
        BOX,
        gym.spaces.Box(-1, 1, (2,)),
        value=ValueSettings(value_hidden_sizes=(6, 7)),
        hidden_sizes=(5,),
        activation="relu",
        state_dependent_std=True,
        normalize_observations=False,
        ema_momentum=0.5,
    )
    assert [layer.units for layer in agent.policy.encoder.network.layers] == [5]
    assert [layer.units for layer in agent.value_function.encoder.network.layers] == [6, 7]
    for model in (agent.policy, agent.value_function):
        assert model.encoder.normalization == []
        assert all(layer.activation is keras.activations.relu for layer in model.encoder.network.layers)
    assert agent.policy.action_distribution.state_dependent_std
    assert agent.ema_momentum == agent.average.momentum == 0.5
    policy = {id(variable) for variable in agent.policy.weights}
    assert not policy & {id(variable) for variable in agent.value_function.weights}


def test_own_networks_are_used_and_are_two():
    networks = [keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)]) for _ in range(3)]
    agent = for_spaces(BOX, TWO, networks=networks[:2])
    assert agent.policy.encoder.network is networks[0]
    assert agent.value_function.encoder.network is networks[1]
    with pytest.raises(ValueError, match="share trainable weights"):
        for_spaces(BOX, TWO, networks=(networks[2], networks[2]))


def test_a_mirror_is_given_or_known_of_an_id():
    """The policy does in the mirrored observation the mirror image of what it does in the observation."""
    observations = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    signs = np.float32([1, -1, -1])
    given = tf_trpo.TRPO.for_env("Pendulum-v1", mirror=MirrorSymmetry.from_names("x -y -w", "-t"), seed=0)
    np.testing.assert_allclose(given.predict(observations * signs), -given.predict(observations), atol=1e-6)
    values = [given.value_function(inputs) for inputs in (observations, observations * signs)]
    np.testing.assert_allclose(*values, rtol=1e-5, atol=1e-6)
    known = tf_trpo.TRPO.for_env("InvertedPendulum-v5", policy=PolicySettings(mirror=True), seed=0)
    observations = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    np.testing.assert_allclose(known.predict(-observations), -known.predict(observations), atol=1e-6)
    with pytest.raises(ValueError, match="known of Gymnasium ids only; give a MirrorSymmetry"):
        for_spaces(BOX, TWO, mirror=True)
    with pytest.raises(TypeError, match="mirror must be a MirrorSymmetry"):
        tf_trpo.TRPO.for_env("Pendulum-v1", mirror=True)


def test_for_env_compiles_with_the_default_settings_and_the_value_optimizer_can_be_another():
    agent, settings = for_spaces(BOX, TWO), UpdateSettings(value_learning_rate=0.25)
    assert agent.compiled
    assert agent.jit_compile
    assert agent.update_settings == UpdateSettings()
    assert agent.policy_optimizer == TrustRegion()
    assert isinstance(agent.optimizer, keras.optimizers.Adam)
    assert float(agent.optimizer.learning_rate) == pytest.approx(1e-3)
    agent.compile(update=settings)
    assert float(agent.optimizer.learning_rate) == 0.25
    agent.compile(value_optimizer="rmsprop")
    assert isinstance(agent.optimizer, keras.optimizers.RMSprop)
    with pytest.raises(ValueError, match="value_learning_rate sets the present value optimizer"):
        agent.compile(value_optimizer="sgd", update=settings)
    scheduled = keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9))
    agent.compile(value_optimizer=scheduled)
    with pytest.raises(ValueError, match="value_learning_rate_decay needs a value optimizer without a schedule"):
        agent.compile(value_optimizer=scheduled, update=UpdateSettings(value_learning_rate_decay=True))


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (keras.optimizers.SGD(loss_scale_factor=1000.0), "value_optimizer must not scale the loss"),
        (keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()), "value_optimizer must not scale the loss"),
        (keras.optimizers.Adam(use_ema=True), "value_optimizer must have use_ema=False"),
    ],
)
def test_options_of_a_value_optimizer_without_effect_are_refused(optimizer, message):
    agent = for_spaces(BOX, TWO)
    with pytest.raises(ValueError, match=message):
        agent.compile(value_optimizer=optimizer)
    agent.optimizer = optimizer
    with pytest.raises(ValueError, match=message):
        agent.compile()


def test_two_agents_share_no_network_and_no_optimizer(make_agent):
    network, optimizer = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]), keras.optimizers.Adam()
    first = tf_trpo.TRPO.for_env("CartPole-v1", network=network)
    first.compile(value_optimizer=optimizer)
    first.compile(value_optimizer=optimizer)
    with pytest.raises(ValueError, match=r"^sequential.*/kernel belongs to another agent too|/bias belongs to"):
        tf_trpo.TRPO.for_env("CartPole-v1", network=network)
    with pytest.raises(ValueError, match=r"^the value optimizer belongs to another agent too"):
        make_agent("CartPole-v1").compile(value_optimizer=optimizer)
    # One that nobody has any more.
    del first
    tf_trpo.TRPO.for_env("CartPole-v1", network=network)


def test_a_policy_optimizer_of_another_type_and_an_unknown_setting_are_refused():
    agent = for_spaces(BOX, TWO)
    with pytest.raises(TypeError, match="policy_optimizer must be PolicyOptimizer or None"):
        agent.compile("adam")
    for name, value, message in (
        ("update", {"gamma": 0.9}, "update must be UpdateSettings or None, got {'gamma': 0.9}"),
        ("jit_compile", "yes", "jit_compile must be true, false, auto or None, got 'yes'"),
        ("discount", 0.9, "discount"),
    ):
        with pytest.raises(TypeError, match=message):
            agent.compile(**{name: value})
    for costs in ("cost", print):
        with pytest.raises(TypeError, match=r"^costs must be list or tuple, got "):
            tf_trpo.TRPO.for_env("CartPole-v1", costs=costs)
    with pytest.raises(TypeError, match="policy must be PolicySettings or None"):
        tf_trpo.TRPO.for_env("CartPole-v1", policy={})
    with pytest.raises(TypeError, match="callbacks must be Callback, list, tuple or None, got 'all'"):
        agent.fit("CartPole-v1", 1, callbacks="all")


def test_an_environment_in_none_of_the_three_forms_is_refused():
    with gym.make("CartPole-v1") as environment, pytest.raises(ValueError, match="Gymnasium id, by a function"):
        tf_trpo.TRPO.for_env(environment)


def test_observations_of_another_shape_are_refused():
    agent = for_spaces(BOX, TWO)
    for shape in [(), (4,), (2, 4), (2, 3, 1)]:
        with pytest.raises(ValueError, match=r"must be one \[3\] or a batch \[N, 3\]"):
            agent.predict(np.zeros(shape))


def test_a_vector_environment_of_the_callers_own_is_left_open():
    environments = gym.make_vec("CartPole-v1", 2, vectorization_mode="sync")
    tf_trpo.TRPO.for_env(environments)
    environments.reset(seed=0)
    environments.step(np.zeros(2, np.int64))
    assert not environments.closed
    environments.close()


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        (gym.spaces.Discrete(3), "gives an action_mask of 2 elements, and its actions have 3 choices"),
        (
            BOX,
            "gives an action_mask of 2 elements, and only actions that .* can be masked: leave the entry out by a wr",
        ),
    ],
)
def test_a_mask_of_other_actions_is_refused(actions, words):
    with pytest.raises(ValueError, match=words):
        for_spaces(gym.spaces.Dict(x=BOX, action_mask=gym.spaces.MultiBinary(2)), actions)


def test_names_of_the_package_are_listed():
    assert set(tf_trpo.__all__) <= set(dir(tf_trpo))
    assert all(getattr(tf_trpo, name) is not None for name in tf_trpo.__all__)


@pytest.mark.parametrize(("seed", "error"), [(-1, ValueError), (1.5, TypeError)])
def test_an_impossible_seed_of_for_env_is_refused_by_its_name(seed, error):
    with pytest.raises(error, match=f"^seed must be .*, got {seed}"):
        tf_trpo.TRPO.for_env("CartPole-v1", seed=seed)

"""Agents for an environment's spaces."""

import gymnasium as gym
import keras
import numpy as np
import pytest

import tf_trpo
from tf_trpo.distributions import Categorical, Gaussian


class Spaces(gym.Env):
    def __init__(self, observations, actions):
        self.observation_space, self.action_space = observations, actions


BOX = gym.spaces.Box(-1, 1, (3,), np.float32)


def for_spaces(observations, actions, **kwargs):
    return tf_trpo.TRPO.for_env(lambda: Spaces(observations, actions), seed=0, **kwargs)


def test_discrete_actions_make_a_categorical_policy_counting_from_the_spaces_start():
    policy = for_spaces(BOX, gym.spaces.Discrete(4, start=-1)).policy
    distribution = policy.action_distribution
    assert isinstance(distribution, Categorical)
    assert (distribution.num_outputs, distribution.first_action) == (4, -1)


def test_boxes_of_actions_make_a_gaussian_policy_with_their_bounds_and_shape():
    low, high = np.float32([[-1, -2], [-3, -np.inf]]), np.float32([[1, 2], [3, np.inf]])
    distribution = for_spaces(BOX, gym.spaces.Box(low, high), initial_std=0.3).policy.action_distribution
    assert isinstance(distribution, Gaussian)
    assert distribution.action_low == (-1, -2, -3, -np.inf)
    assert distribution.action_high == (1, 2, 3, np.inf)
    assert distribution.action_shape == (2, 2)
    assert distribution.initial_std == 0.3


@pytest.mark.parametrize(
    "actions", [gym.spaces.MultiDiscrete([2, 3]), gym.spaces.MultiBinary(3), gym.spaces.Box(0, 9, (2,), np.int64)]
)
def test_other_actions_are_refused(actions):
    with pytest.raises(ValueError, match=r"action space .* is not supported"):
        for_spaces(BOX, actions)


@pytest.mark.parametrize(
    ("observations", "shape"),
    [
        (BOX, (3,)),
        (gym.spaces.Box(0, 255, (8, 8, 3), np.uint8), (8, 8, 3)),
        (gym.spaces.Discrete(5), (5,)),
        (gym.spaces.Dict({"place": BOX, "kind": gym.spaces.Discrete(2)}), (5,)),
    ],
)
def test_observations_have_the_shape_of_their_space_flattened_if_it_is_no_box(observations, shape):
    agent = for_spaces(observations, gym.spaces.Discrete(2))
    assert agent.policy.observation_shape == agent.value_function.observation_shape == shape
    assert agent(np.zeros([7, *shape], np.float32)).batch_shape == (7,)
    assert agent.value_function(np.zeros([7, *shape], np.float32)).shape == (7,)


def test_policy_and_value_function_share_no_weight():
    agent = for_spaces(BOX, gym.spaces.Discrete(2))
    policy = {id(variable) for variable in agent.policy.weights}
    assert not policy & {id(variable) for variable in agent.value_function.weights}


def test_options_reach_the_models():
    agent = for_spaces(
        BOX,
        gym.spaces.Box(-1, 1, (2,)),
        hidden_sizes=(5,),
        value_hidden_sizes=(6, 7),
        activation="relu",
        state_dependent_std=True,
        normalize_observations=False,
    )
    assert [layer.units for layer in agent.policy.encoder.network.layers] == [5]
    assert [layer.units for layer in agent.value_function.encoder.network.layers] == [6, 7]
    for model in (agent.policy, agent.value_function):
        assert model.encoder.normalization is None
        assert all(layer.activation is keras.activations.relu for layer in model.encoder.network.layers)
    assert agent.policy.action_distribution.state_dependent_std


def test_own_networks_are_used():
    networks = [keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)]) for _ in range(2)]
    agent = for_spaces(BOX, gym.spaces.Discrete(2), network=networks[0], value_network=networks[1])
    assert agent.policy.encoder.network is networks[0]
    assert agent.value_function.encoder.network is networks[1]


def test_for_env_compiles_with_the_default_settings():
    agent = for_spaces(BOX, gym.spaces.Discrete(2))
    assert agent.compiled
    assert agent.jit_compile
    assert agent.settings == tf_trpo.training.UpdateSettings()
    assert agent.policy_optimizer.get_config() == tf_trpo.optimizers.TrustRegion().get_config()
    assert isinstance(agent.optimizer, keras.optimizers.Adam)
    assert float(agent.optimizer.learning_rate) == pytest.approx(1e-3)


def test_a_value_optimizer_may_be_given_by_name():
    agent = for_spaces(BOX, gym.spaces.Discrete(2))
    agent.compile(value_optimizer="rmsprop")
    assert isinstance(agent.optimizer, keras.optimizers.RMSprop)


def test_an_unknown_setting_is_refused():
    with pytest.raises(TypeError, match="discount"):
        for_spaces(BOX, gym.spaces.Discrete(2)).compile(discount=0.9)


def test_a_setting_out_of_range_is_refused():
    with pytest.raises(ValueError, match="gamma must lie in"):
        for_spaces(BOX, gym.spaces.Discrete(2)).compile(gamma=1.5)


def test_the_agents_own_vector_environment_is_left_open():
    environments = gym.make_vec("CartPole-v1", 2, vectorization_mode="sync")
    tf_trpo.TRPO.for_env(environments)
    environments.reset(seed=0)
    environments.step(np.zeros(2, np.int64))
    environments.close()

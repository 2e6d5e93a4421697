"""What an agent refuses, and what its message says."""

import gymnasium as gym
import keras
import numpy as np
import pytest

import tf_trpo


@pytest.fixture(scope="module")
def agent():
    return tf_trpo.TRPO.for_env("CartPole-v1", hidden_sizes=(4,), value_hidden_sizes=(4,), seed=0)


def test_a_network_shared_by_policy_and_value_function_is_refused():
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    with pytest.raises(ValueError, match="share trainable weights"):
        tf_trpo.TRPO.for_env("CartPole-v1", network=network, value_network=network)


def test_an_environment_in_none_of_the_three_forms_is_refused():
    with gym.make("CartPole-v1") as environment, pytest.raises(ValueError, match="Gymnasium id, by a function"):
        tf_trpo.TRPO.for_env(environment)


def test_a_policy_optimizer_of_another_type_is_refused(agent):
    with pytest.raises(TypeError, match="policy_optimizer must be a PolicyOptimizer"):
        agent.compile("adam")


def test_an_unknown_setting_is_named(agent):
    with pytest.raises(TypeError, match=r"no settings \['lambda_gae'\]"):
        agent.compile(lambda_gae=0.9)


@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 4, 1)])
def test_observations_of_another_shape_are_refused(agent, shape):
    with pytest.raises(ValueError, match=r"must be a batch \[N, 4\]"):
        agent.predict(np.zeros(shape))


def test_one_callback_needs_no_list(agent):
    iterations = []
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: iterations.append(epoch))
    agent.compile(jit_compile=False)
    agent.fit("CartPole-v1", 10, num_steps=10, callbacks=callback, verbose=0)
    assert iterations == [0]


def test_names_of_the_package_are_listed():
    assert set(tf_trpo.__all__) <= set(dir(tf_trpo))
    assert all(getattr(tf_trpo, name) is not None for name in tf_trpo.__all__)

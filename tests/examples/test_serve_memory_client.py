"""The example of a client that holds a memory's state: its episodes are the agent's, even next to another client."""

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

import tf_trpo
from examples.serve_memory_client import Client, play
from tf_trpo.models import PolicySettings

NAME = "CartPole-v1"


@pytest.fixture(scope="module", params=["gru", "lstm"])
def agent(request):
    settings = PolicySettings((8,), memory=request.param, memory_units=4)
    agent = tf_trpo.TRPO.for_env(NAME, policy=settings, seed=0)
    weights = agent.policy.flat_weights
    agent.policy.assign_flat_weights(tf.random.stateless_normal(weights.shape, (0, 7)))
    return agent


@pytest.fixture(scope="module")
def url(agent, start_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / NAME
    agent.export(folder)
    server = start_server(folder)
    return f"http://127.0.0.1:{server.port}{server.path}"


def test_an_episode_is_that_of_the_agent(agent, url):
    environment = gym.make(NAME)
    (observation, _), state, length, ended = environment.reset(seed=0), None, 0, False
    while not ended:
        action, state = agent.predict(observation, state)
        observation, _, terminated, truncated, _ = environment.step(int(action))
        length, ended = length + 1, terminated or truncated
    client = Client(url)
    # A client gets a new state for each episode.
    assert [play(client, environment), play(client, environment)] == [length, length]
    environment.close()


def test_two_clients_that_take_turns_do_not_disturb_each_other(agent, url):
    episodes = np.random.default_rng(0).normal(size=(2, 10, 4)).astype(np.float32)
    clients, states = [Client(url), Client(url)], [None, None]
    clients[0].begin()
    clients[1].begin()
    for time in range(10):
        for position, client in enumerate(clients):
            action, states[position] = agent.predict(episodes[position, time], states[position])
            assert client.act(episodes[position, time].tolist()) == action

"""`play` with a model with a memory: each episode begins with the initial state, locally and on a server."""

import json
import shutil
import time

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

import tf_trpo
from tf_trpo import Experiment
from tf_trpo.cli import main
from tf_trpo.environments import FrameStack
from tf_trpo.environments.episodes import episode_seed
from tf_trpo.models import PolicySettings
from tf_trpo.rollouts.seeds import Stream, environment_seeds
from tf_trpo.serving.remote_policy import RemotePolicy, VersionReplacedError

NAME, EPISODES = "CartPole-v1", 3
SETTINGS = {"episodes": EPISODES, "seed": 3}
WRAPPER = "tf_trpo.environments:FrameStack(2)"


@pytest.fixture(scope="module")
def agent():
    settings = PolicySettings((8,), memory_units=4, memory="lstm")
    agent = tf_trpo.TRPO.for_env(NAME, policy=settings, wrappers=[WRAPPER], seed=0)
    weights = agent.policy.flat_weights
    agent.policy.assign_flat_weights(tf.random.stateless_normal(weights.shape, (0, 7)))
    return agent


@pytest.fixture(scope="module")
def model(agent, tmp_path_factory):
    """The folder of its exported model."""
    folder = tmp_path_factory.mktemp("model") / NAME
    agent.export(folder, environment=NAME, environment_arguments={"wrappers": [WRAPPER]})
    return folder


def by_hand(agent, seeds, environment, *, forgets):
    """Lengths of the episodes with these seeds; with `forgets`, each step begins with an empty memory."""
    lengths = []
    with environment:
        for seed in seeds:
            observation, _ = environment.reset(seed=seed)
            state, ended, length = None, False, 0
            while not ended:
                action, state = agent.predict(observation, None if forgets else state)
                observation, _, terminated, truncated, _ = environment.step(int(action))
                ended, length = terminated or truncated, length + 1
            lengths.append(length)
    return lengths


def test_a_run_with_a_memory_is_trained_resumed_evaluated_and_played(small, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    memory = ["--memory", "lstm", "--memory-units", "4", "--segment-length", "16", "--burn-in", "4"]
    main(["train", *small, *memory, "--quiet", "--run-dir", "run", "--export"])
    main(["train", "--resume", "run", "--total-steps", "128", "--quiet"])
    settings = Experiment.from_run("run")
    assert (settings.policy.memory, settings.update.segment_length, settings.update.burn_in) == ("lstm", 16, 4)
    agent = tf_trpo.load("run/agent.keras")
    of_environments = environment_seeds(0, Stream.EVALUATION_ENVIRONMENTS, EPISODES)
    for command, seeds in (
        (["evaluate", "run"], [episode_seed(seed, 0) for seed in of_environments]),
        (["play", "run/saved_model"], [episode_seed(0, episode) for episode in range(EPISODES)]),
    ):
        capsys.readouterr()
        main([*command, "--episodes", str(EPISODES), "--json"])
        found = json.loads(capsys.readouterr().out)["mean_return"]
        assert found == np.mean(by_hand(agent, seeds, gym.make(NAME), forgets=False))
        assert found != np.mean(by_hand(agent, seeds, gym.make(NAME), forgets=True)), "the memory makes a difference"


def test_the_episodes_are_those_of_the_agent(agent, model, capsys, start_server):
    seeds = [episode_seed(SETTINGS["seed"], episode) for episode in range(EPISODES)]
    expected, forgotten = (
        by_hand(agent, seeds, FrameStack(gym.make(NAME), 2), forgets=forgets) for forgets in (False, True)
    )
    assert expected != forgotten, "the memory makes a difference"
    server = start_server(model)
    options = ["--json", *np.ravel([[f"--{name}", str(value)] for name, value in SETTINGS.items()])]
    url = f"http://127.0.0.1:{server.port}{server.path}"
    for arguments in ([str(model)], [url, "--env", NAME, "--wrapper", WRAPPER]):
        main(["play", *arguments, *options])
        assert json.loads(capsys.readouterr().out)["lengths"] == expected


def remote(server, **options):
    """Arguments of `play` with a server."""
    given = {"env": NAME, "wrapper": WRAPPER, **SETTINGS, **options}
    settings = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    return ["play", f"http://127.0.0.1:{server.port}{server.path}", *settings, "--json"]


def test_an_episode_begins_again_if_the_server_replaces_the_version(
    agent, model, tmp_path, monkeypatch, capsys, start_server
):
    seeds = [episode_seed(SETTINGS["seed"], episode) for episode in range(EPISODES)]
    other = tf_trpo.TRPO.for_env(NAME, policy=PolicySettings((8,), memory_units=4, memory="lstm"), wrappers=[WRAPPER])
    other.policy.assign_flat_weights(tf.random.stateless_normal(other.policy.flat_weights.shape, (0, 8)))
    by_old, by_new = (by_hand(each, seeds, FrameStack(gym.make(NAME), 2), forgets=False) for each in (agent, other))
    assert by_old[1] > 3
    assert by_old[1:] != by_new[1:]
    other.export(tmp_path / "new")
    shutil.copytree(model, tmp_path / NAME)
    server, answered, act = start_server(tmp_path / NAME), [], RemotePolicy.act

    def replaced(self, observations, seed=None):
        if len(answered) == by_old[0] + 3:
            # In the second episode.
            shutil.move(tmp_path / "new" / "1", tmp_path / NAME / "2")
            deadline = time.monotonic() + 60
            while server.get()[1]["model_version_status"][-1]["state"] != "END":
                assert time.monotonic() < deadline
                time.sleep(0.05)
        answered.append(None)
        return act(self, observations, seed)

    monkeypatch.setattr(RemotePolicy, "act", replaced)
    main(remote(server))
    captured = capsys.readouterr()
    assert json.loads(captured.out)["lengths"] == [by_old[0], *by_new[1:]]
    [line] = captured.err.splitlines()
    assert line.startswith("episode 2 begins again with a new version of the model: ")


def test_an_episode_whose_version_is_always_replaced_ends_with_the_error(model, monkeypatch, refused, start_server):
    server, begun = start_server(model), []

    def act(self, observations, seed=None):
        begun.append(observations)
        raise VersionReplacedError("version 1 is gone")

    monkeypatch.setattr(RemotePolicy, "act", act)
    assert refused(*remote(server), progress_lines=4) == "error: version 1 is gone"
    assert len(begun) == 5
    for observation in begun:
        np.testing.assert_array_equal(observation, begun[0])

"""The page about memory: its examples run, and its endpoints are those of a model."""

import json
import re
from pathlib import Path

import gymnasium as gym
import keras
import numpy as np
import pytest

import tf_trpo
from tf_trpo.models import PolicySettings
from tf_trpo.serving.saved_model import SavedModel

PAGE = (Path(__file__).parents[2] / "docs" / "memory.md").read_text(encoding="utf-8")


class Two(gym.Env):
    """Two observed numbers and two actions."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """An agent with a memory whose outputs are not 0, and the folder of its exported model."""
    agent = tf_trpo.TRPO.for_env(Two, policy=PolicySettings((4,)), memory=keras.layers.GRUCell(4), seed=0)
    kernel = agent.policy.encoder.output_layer.kernel
    kernel.assign(np.random.default_rng(0).normal(size=kernel.shape))
    folder = tmp_path_factory.mktemp("exported") / "remembers"
    return agent, folder, agent.export(folder)


def test_the_examples_run_in_their_order(run_examples, tmp_path):
    short = PAGE.replace("total_steps=200_000", "total_steps=200").replace("num_envs=8, num_steps=256", "num_steps=64")
    examples, output = run_examples(short)
    assert len(examples) == 6
    assert "mean_return" in output
    assert (tmp_path / "models" / "remembers" / "1" / "saved_model.pb").is_file()


def test_the_endpoints_on_the_page_are_those_of_a_model(exported):
    *_, version = exported
    found = SavedModel(1, Path(version)).signatures
    rows = {}
    for line in PAGE.splitlines():
        if re.match(r"\| `(act|act_stochastic|value|distribution|initial_state)`", line):
            name, inputs, outputs = (re.findall(r"`(\w+)`", cell) for cell in line.strip("|").split("|"))
            rows[name[0]] = set(inputs), set(outputs)
    assert rows.keys() == found.keys() - {"serving_default"}
    rows["distribution"][1].add("logits")
    for name, (inputs, outputs) in rows.items():
        assert inputs == set(found[name].inputs)
        assert outputs == set(found[name].outputs)


def test_a_server_answers_the_requests_on_the_page(start_server, exported):
    agent, folder, _ = exported
    server = start_server(folder)
    assert f"http://127.0.0.1:8501{server.path}" in PAGE
    first, act = (json.loads(body) for body in re.findall(r"^    curl -s \$model:predict -d '(.+)'$", PAGE, re.M))
    zeros = [0.0] * 4
    assert server.post(first) == (200, {"predictions": [{"state": zeros, "value_state": zeros}]})
    [given] = act["instances"]
    assert given["state"] == zeros
    action, state = agent.predict(np.float32(given["observations"]))
    status, answer = server.post(act)
    [found] = answer["predictions"]
    assert (status, found["actions"]) == (200, action)
    np.testing.assert_allclose(found["state"], state[0], rtol=1e-4, atol=1e-5)
    assert np.abs(state[0]).min() > 1e-4

"""`play`: episodes by a model here and by one behind a server, recorded or not, and what it refuses."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

import tf_trpo
from tf_trpo.cli import main
from tf_trpo.environments.episodes import episode_seed
from tf_trpo.serving.local_policy import LocalPolicy
from tf_trpo.spaces import as_batch

EPISODES = ["--episodes", "2", "--seed", "3"]


@pytest.fixture(scope="module")
def agent():
    return tf_trpo.TRPO.for_env("CartPole-v1", seed=0)


@pytest.fixture(scope="module")
def model(agent, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "CartPole-v1"
    agent.export(folder, environment="CartPole-v1")
    return folder


def played(capsys, *arguments):
    main(["play", *map(str, arguments), "--json"])
    return json.loads(capsys.readouterr().out)


def by_hand(agent, name, *, episodes, seed, stochastic):
    """(returns, lengths) of the same episodes in plain Gymnasium, by the agent."""
    environment, returns, lengths, steps = gym.make(name), [], [], 0
    for episode in range(episodes):
        observation, _ = environment.reset(seed=episode_seed(seed, episode))
        total, ended, begun = 0.0, False, steps
        while not ended:
            action = agent.predict(observation)
            if stochastic:
                batch, _ = as_batch(agent.policy.encoder.spec, observation)
                noise = agent.policy.action_distribution.noise([1], np.int32([seed, steps]))
                action = agent.policy.action_distribution.to_environment(agent.policy.act(batch, noise)).numpy()[0]
            observation, reward, terminated, truncated, _ = environment.step(int(action))
            total, ended, steps = total + reward, terminated or truncated, steps + 1
        returns.append(total)
        lengths.append(steps - begun)
    environment.close()
    return returns, lengths


@pytest.mark.parametrize("stochastic", [False, True])
def test_the_episodes_are_those_of_the_agent_in_plain_gymnasium(model, agent, capsys, stochastic):
    options = ["--stochastic"] if stochastic else []
    found = played(capsys, "--model", model, *EPISODES, *options)
    by_agent = by_hand(agent, "CartPole-v1", episodes=2, seed=3, stochastic=stochastic)
    assert (found["returns"], found["lengths"]) == by_agent
    assert found["mean_return"] == np.mean(found["returns"])


@pytest.mark.parametrize(("name", "parts"), [("Blackjack-v1", 3), ("FrozenLake-v1", 1)])
def test_environments_of_choices_are_played_in_their_own_terms(tmp_path, capsys, name, parts):
    agent = tf_trpo.TRPO.for_env(name, seed=0)
    weights = agent.policy.flat_weights
    agent.policy.assign_flat_weights(tf.random.stateless_normal(weights.shape, (0, 0)))
    agent.export(tmp_path, environment=name)
    assert len(LocalPolicy(tmp_path).observations) == parts
    found = played(capsys, "--model", tmp_path, "--episodes", "5", "--seed", "3", "--stochastic")
    by_agent = by_hand(agent, name, episodes=5, seed=3, stochastic=True)
    assert (found["returns"], found["lengths"]) == by_agent


def test_the_masks_of_an_environment_are_inputs_of_its_model(tmp_path, capsys):
    making = {"env_kwargs": {"max_episode_steps": 40}, "action_masks": "info"}
    agent = tf_trpo.TRPO.for_env("Taxi-v4", **making)
    agent.export(tmp_path, environment="Taxi-v4", environment_arguments=making)
    found = played(capsys, "--model", tmp_path, "--stochastic", "--seed", "1")
    # A step costs 1, and only an action that the mask does not allow costs 10.
    assert found["returns"][0] >= -found["lengths"][0]


def test_a_folder_of_a_run_is_played_once_it_is_exported(model, tmp_path, capsys, refused):
    (tmp_path / "agent.keras").touch()
    words = f"export the run first: tf_trpo export {tmp_path} --output {tmp_path / 'saved_model'}"
    assert words in refused("play", "--model", tmp_path)
    assert words in refused("serve", tmp_path)
    (tmp_path / "saved_model").symlink_to(model)
    assert played(capsys, "--model", tmp_path, *EPISODES) == played(capsys, "--model", model, *EPISODES)


def test_a_renderer_that_crashes_is_one_line_and_leaves_no_file(tmp_path, monkeypatch, refused, model):
    (tmp_path / "crashing.py").write_text(
        "import gymnasium, os, signal\n"
        "from gymnasium.envs.classic_control import CartPoleEnv\n"
        "class Crashing(CartPoleEnv):\n"
        "    def render(self):\n"
        "        os.kill(os.getpid(), signal.SIGSEGV)\n"
        "gymnasium.register('Crashing-v0', Crashing)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    arguments = ["crashing:Crashing-v0", "--allow-import", "--model", model, "--video", tmp_path / "film.gif"]
    assert "crashing:Crashing-v0 cannot be filmed: its process died (SIGSEGV)" in refused("play", *arguments)
    assert not (tmp_path / "film.gif").exists()
    assert "crashing" not in sys.modules


def test_a_server_and_the_model_itself_play_the_same(model, capsys, start_server):
    server = start_server(model)
    url = f"http://127.0.0.1:{server.port}{server.path}"
    for options in ([], ["--stochastic"]):
        here = played(capsys, "--model", model / "1", *EPISODES, *options)
        assert played(capsys, "CartPole-v1", "--server", url, *EPISODES, *options) == here
        assert played(capsys, "CartPole-v1", "--server", f"{url}/versions/1", *EPISODES, *options) == here


def test_people_get_a_line_for_each_episode(model, capsys):
    main(["play", "--model", str(model), *EPISODES])
    first, second, mean = capsys.readouterr().out.splitlines()
    assert first.startswith("episode 1: return ")
    assert second.startswith("episode 2: return ")
    assert mean.startswith("mean return ")


# imageio-ffmpeg's reader does not close its pipes.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <_io:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_every_step_is_a_frame_of_the_video(model, tmp_path, capsys, suffix):
    pytest.importorskip("pygame")
    imageio = pytest.importorskip("imageio")
    if suffix == ".mp4":
        pytest.importorskip("imageio_ffmpeg")
    path = tmp_path / f"episode{suffix}"
    steps = played(capsys, "--model", model, "--seed", "3", "--video", path)["lengths"][0]
    with imageio.get_reader(path) as reader:
        frames = list(reader.iter_data())
        fps = reader.get_meta_data().get("fps") or 1000 / reader.get_meta_data()["duration"]
    assert fps == pytest.approx(50)
    assert frames[0].shape[:2] == (400, 600)
    # GIF may join frames that are equal.
    assert len(frames) == steps + 1 if suffix == ".mp4" else 2 < len(frames) <= steps + 1
    assert np.abs(frames[0].astype(int) - frames[-1].astype(int)).max() > 100


def test_refusals(model, tmp_path, refused, agent):
    nameless = tmp_path / "nameless"
    agent.export(nameless)
    folder = tmp_path / "folder.mp4"
    folder.mkdir()
    cases = {
        "either --model FOLDER or --server URL": [],
        "does not say which environment its model is for": ["--server", "http://localhost:1/v1/models/x"],
        "is no URL of a model": ["CartPole-v1", "--server", "http://localhost:1/other"],
        "Connection refused": ["CartPole-v1", "--server", "http://127.0.0.1:1/v1/models/x"],
        "name it first": ["--model", nameless],
        "holds no version": ["--model", tmp_path],
        "nowhere: No such file": ["--model", tmp_path / "nowhere"],
        "episodes must be in [1, 1000000]": ["--model", model, "--episodes", "0"],
        "seed must be in [0, 2147483647]": ["--model", model, "--seed", "-1"],
        "video must be a file that ends with .mp4 or .gif": ["--model", model, "--video", "film.avi"],
        "film.gif: No such file": ["--model", model, "--video", tmp_path / "nowhere" / "film.gif"],
        "folder.mp4: Is a directory": ["--model", model, "--video", folder],
        "the model observes observations of shape (4,), the environment gives observations of shape (3,)": [
            "Pendulum-v1",
            "--model",
            model,
        ],
        "does not lie in the environment's Discrete(3)": ["Acrobot-v1", "--model", acrobot_model(tmp_path)],
        "doesn't exist": ["Nowhere-v0", "--model", model],
        "import the module 'antigravity', which runs its code: give --allow-import as well": [
            "antigravity:X-v0",
            "--model",
            model,
        ],
    }
    for words, arguments in cases.items():
        assert words in refused("play", *arguments), words


def acrobot_model(folder):
    """A policy for six numbers, as Acrobot has, whose actions are another environment's."""
    from tf_trpo.distributions import Categorical
    from tf_trpo.models import Encoder, Policy, ValueFunction

    agent = tf_trpo.TRPO(Policy(Encoder((6,), 2), Categorical(2, 7)), ValueFunction(Encoder((6,), 1)))
    agent.export(folder / "acrobot")
    return folder / "acrobot"


class Foreign(tf.Module):
    """Endpoints that have something of a policy's."""

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name="x")])
    def of_x(self, x):
        return {"actions": x}

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name="observations")])
    def values(self, observations):
        return {"values": observations}

    @tf.function(input_signature=[tf.TensorSpec((4,), tf.float32, name="observations")])
    def of_one(self, observations):
        return {"actions": observations}

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.int32, name="observations")])
    def of_integers(self, observations):
        return {"actions": observations}

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name="observations")])
    def one_for_all(self, observations):
        return {"actions": tf.reduce_sum(observations)}

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name="observations")])
    def zeros_only(self, observations):
        tf.debugging.assert_equal(observations, 0.0, "not zero")
        return {"actions": observations}

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float64, name="observations")])
    def good(self, observations):
        return {"actions": tf.cast(observations[:, 2] > 0, tf.int32)}


NO_ENDPOINT = "the model has no endpoint act from observations to actions, with batches;"
FOREIGN = {
    **dict.fromkeys(("of_x", "values", "of_one"), f"{NO_ENDPOINT} it has act"),
    "of_integers": "the model takes observations as int32, not as float32",
    "zeros_only": "the model refuses the inputs",
    "one_for_all": "does not lie in the environment's Discrete(2)",
}


def test_models_of_others_are_played_when_they_are_trusted_and_have_the_endpoints(tmp_path, refused, capsys):
    foreign = Foreign()
    for name in (*FOREIGN, "good"):
        tf.saved_model.save(foreign, str(tmp_path / name / "1"), signatures={"act": getattr(foreign, name)})
    tf.saved_model.save(foreign, str(tmp_path / "nameless" / "1"), signatures={"serving_default": foreign.good})
    for name, words in {**FOREIGN, "nameless": f"{NO_ENDPOINT} it has serving_default"}.items():
        assert words in refused("play", "CartPole-v1", "--model", tmp_path / name, "--trust"), name
    good = ["CartPole-v1", "--model", tmp_path / "good"]
    assert "tf_trpo did not write it" in refused("play", *good)
    assert "no endpoint act_stochastic" in refused("play", *good, "--trust", "--stochastic")
    # Pushing to where the pole leans is a poor policy, and one that works for a while.
    assert 20 < played(capsys, *good, "--trust")["lengths"][0] < 100


def test_an_id_that_imports_a_module_is_followed_only_when_that_is_allowed(
    agent, tmp_path, monkeypatch, refused, capsys
):
    (tmp_path / "strange.py").write_text(
        "import gymnasium, pathlib\n"
        "pathlib.Path(__file__).with_name('imported').touch()\n"
        "gymnasium.register('Strange-v0', 'gymnasium.envs.classic_control:CartPoleEnv', max_episode_steps=5)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    agent.export(tmp_path / "model", environment="strange:Strange-v0")
    try:
        assert "--allow-import" in refused("play", "--model", tmp_path / "model")
        assert not (tmp_path / "imported").exists()
        assert played(capsys, "--model", tmp_path / "model", "--allow-import")["lengths"] == [5]
        assert (tmp_path / "imported").exists()
    finally:
        sys.modules.pop("strange", None)
        gym.registry.pop("Strange-v0", None)


NO_ACTION = "answers with outputs that are no action for each observation"
ANSWERS = {
    b'{"error": "no such model"}': (404, "answers with status 404: no such model"),
    b"<html>": (200, "JSON is malformed"),
    b"[]": (200, "Expected `object`, got `array`"),
    b'{"predictions": [0]}': (200, "answers without outputs"),
    b'{"outputs": [0.5]}': (200, "does not lie in the environment's Discrete(2)"),
    b'{"outputs": [[0, 1], 2]}': (200, "answers without outputs"),
    b'{"outputs": []}': (200, NO_ACTION),
    b'{"outputs": 5}': (200, NO_ACTION),
    b'{"outputs": null}': (200, NO_ACTION),
    b'{"outputs": {"actions": [1]}}': (200, NO_ACTION),
    b'{"outputs": ["left"]}': (200, NO_ACTION),
    b'{"outputs": [true]}': (200, "does not lie in the environment's Discrete(2)"),
    b'{"outputs": [0, 1]}': (200, NO_ACTION),
    b'{"outputs": [null]}': (200, NO_ACTION),
    b'{"outputs": [99999999999999999999999]}': (200, NO_ACTION),
    b'{"outputs": [1e400]}': (200, "Number out of range"),
    b'{"outputs": [[[[1]]]]}': (200, "does not lie in the environment's Discrete(2)"),
    b'{"outputs": ' + b"[" * 500 + b"]" * 500 + b"}": (200, "answers with"),
    b'{"outputs": ' + b"[" * 100_000: (200, "recursion"),
}


def test_a_server_that_answers_something_else_is_named_with_what_it_said(refused):
    answers = iter(ANSWERS.items())
    current = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            body, (status, _) = current[0]
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/v1/models/x"
        for body, (status, words) in answers:
            current[:] = [(body, (status, words))]
            assert words in refused("play", "CartPole-v1", "--server", url), body
        current[:] = [(b'{"outputs": [1.0]}', (200, ""))]
        assert "does not lie in the environment's Box(" in refused("play", "Pendulum-v1", "--server", url)
        server.shutdown()

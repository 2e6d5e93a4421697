"""`play`: episodes with a local model and with a server's, with and without a video, and refusals."""

import base64
import dataclasses
import inspect
import json
import re
import shutil
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
from tf_trpo.environments.fitting import fitting_actions
from tf_trpo.extras import not_installed
from tf_trpo.models import PolicySettings
from tf_trpo.serving import read_metadata
from tf_trpo.serving.local_policy import LocalPolicy
from tf_trpo.serving.metadata import write_metadata
from tf_trpo.serving.remote_policy import RemoteError, RemotePolicy
from tf_trpo.spaces import as_batch

EPISODES = ["--episodes", "2", "--seed", "3"]


@pytest.fixture(scope="module")
def agent():
    return tf_trpo.TRPO.for_env("CartPole-v1", policy=PolicySettings((8,)), seed=0)


@pytest.fixture(scope="module")
def model(agent, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "CartPole-v1"
    agent.export(folder, environment="CartPole-v1")
    return folder


@pytest.fixture
def exported_with(model, tmp_path):
    """exported_with(**metadata): a copy of the model with changed metadata."""

    def copy(**changes):
        version = shutil.copytree(model / "1", tmp_path / "copied" / "1")
        write_metadata(version, dataclasses.replace(read_metadata(version), **changes))
        return version.parent

    return copy


@pytest.fixture
def server():
    """A server of a model, at server.url; server.answer(the request's JSON) gives its status and its answer.

    server.endpoints are what it says of itself.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send(
                200,
                json.dumps(
                    {
                        "model_spec": {"version": self.server.version},
                        "metadata": {"signature_def": {"signature_def": self.server.endpoints}},
                    }
                ).encode(),
            )

        def do_POST(self):
            self.send(*self.server.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"])))))

        def send(self, status, body):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        server.endpoints, server.version = {"act": {"inputs": {"observations": {}}}}, "3"
        server.url = f"http://127.0.0.1:{server.server_port}/v1/models/x"
        yield server
        server.shutdown()
        thread.join()


def played(capsys, *arguments):
    main(["play", *map(str, arguments), "--json"])
    return json.loads(capsys.readouterr().out)


def by_hand(agent, name, *, episodes, seed, stochastic):
    """(returns, lengths) of the same episodes with the agent in plain Gymnasium."""
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
    found = played(capsys, model, *EPISODES, *options)
    by_agent = by_hand(agent, "CartPole-v1", episodes=2, seed=3, stochastic=stochastic)
    assert (found["returns"], found["lengths"]) == by_agent
    assert found["mean_return"] == np.mean(found["returns"])


def test_discrete_actions_are_those_of_the_environment(tmp_path, capsys):
    name = "Blackjack-v1"
    agent = tf_trpo.TRPO.for_env(name, policy=PolicySettings((8,)), seed=0)
    weights = agent.policy.flat_weights
    agent.policy.assign_flat_weights(tf.random.stateless_normal(weights.shape, (0, 0)))
    agent.export(tmp_path, environment=name)
    assert len(LocalPolicy(tmp_path).observations) == 3
    found = played(capsys, tmp_path, "--episodes", "5", "--seed", "3", "--stochastic")
    by_agent = by_hand(agent, name, episodes=5, seed=3, stochastic=True)
    assert (found["returns"], found["lengths"]) == by_agent


def test_the_masks_of_an_environment_are_inputs_of_its_model(tmp_path, capsys):
    making = {"env_kwargs": {"max_episode_steps": 40}, "action_masks": "info"}
    agent = tf_trpo.TRPO.for_env("Taxi-v4", **making)
    agent.export(tmp_path, environment="Taxi-v4", environment_arguments=making)
    found = played(capsys, tmp_path, "--stochastic", "--seed", "1")
    # A step costs 1; only an action that is not allowed costs 10.
    assert found["returns"][0] >= -found["lengths"][0]


def test_a_folder_of_a_run_is_played_once_it_is_exported(model, tmp_path, capsys, refused):
    (tmp_path / "agent.keras").touch()
    words = f"export the run first: tf_trpo export {tmp_path} --output {tmp_path / 'saved_model'}"
    assert words in refused("play", tmp_path)
    assert words in refused("serve", tmp_path)
    (tmp_path / "saved_model").symlink_to(model)
    assert played(capsys, tmp_path, *EPISODES) == played(capsys, model, *EPISODES)


def test_a_renderer_that_crashes_is_one_line_and_leaves_no_file(tmp_path, importable, refused, model):
    imported = importable(
        "crashing",
        "import gymnasium, os, signal\n"
        "from gymnasium.envs.classic_control import CartPoleEnv\n"
        "class Crashing(CartPoleEnv):\n"
        "    def render(self):\n"
        "        os.kill(os.getpid(), signal.SIGSEGV)\n"
        "gymnasium.register('Crashing-v0', Crashing)\n",
    )
    arguments = ["--env", "crashing:Crashing-v0", "--allow-import", model, "--video", tmp_path / "film.gif"]
    assert "crashing:Crashing-v0 cannot be filmed: its process died (SIGSEGV)" in refused("play", *arguments)
    assert not (tmp_path / "film.gif").exists()
    assert not imported()


def test_a_video_is_replaced_only_by_a_whole_one(model, tmp_path, importable, refused, capsys):
    importable(
        "breaking",
        "import gymnasium\n"
        "from gymnasium.envs.classic_control import CartPoleEnv\n"
        "class Breaking(CartPoleEnv):\n"
        "    def step(self, action):\n"
        "        raise OSError('the pole broke')\n"
        "gymnasium.register('Breaking-v0', Breaking)\n",
    )
    arguments = ["--env", "breaking:Breaking-v0", "--allow-import", model, "--video"]
    (tmp_path / "films").mkdir()
    film = tmp_path / "films" / "film.gif"
    film.write_bytes(b"an earlier one")
    with pytest.raises(SystemExit, match=r"^3$"):
        main(["play", *map(str, (*arguments, film))])
    assert "the pole broke" in capsys.readouterr().err
    assert [(path, path.read_bytes()) for path in film.parent.iterdir()] == [(film, b"an earlier one")]
    folder = tmp_path / "folder.gif"
    folder.mkdir()
    assert refused("play", *arguments, folder) == f"error: {folder}: Is a directory"
    missing = tmp_path / "no" / "x.gif"
    assert refused("play", *arguments, missing).startswith(f"error: {missing}: No such")


def test_without_ffmpeg_the_extra_is_named(model, tmp_path, refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert str(not_installed("imageio")) in refused("play", model, "--video", tmp_path / "film.mp4")
    assert not list(tmp_path.glob("*.mp4"))


def test_a_user_and_a_password_of_a_url_are_sent(monkeypatch):
    sent = []
    monkeypatch.setattr("http.client.HTTPConnection.request", lambda *given: sent.append(given))
    monkeypatch.setattr("http.client.HTTPConnection.getresponse", lambda self: (_ for _ in ()).throw(OSError("gone")))
    for url in ("http://me:a%20b%3A@[::1]:8501/v1/models/x", "http://[::1]:8501/v1/models/x"):
        with pytest.raises((RemoteError, OSError), match=r"\[::1\]:8501/v1/models/x|gone"):
            RemotePolicy(url).act(np.zeros((1, 4)))
    headers = [given[-1] for given in sent]
    assert base64.b64decode(headers[0].pop("Authorization").removeprefix("Basic ")) == b"me:a b:"
    assert all(each == {"Content-Type": "application/json"} for each in (headers[0], headers[-1]))
    for url in ("http://h/v1/models/x?a=b", "http://h/v1/models/x#f"):
        with pytest.raises(ValueError, match="is not the URL of a model"):
            RemotePolicy(url)


@pytest.mark.parametrize("host", ["127.0.0.1:99999", "127.0.0.1:abc", "[::1", "[x]:1", "a\x01b:1", ":1"])
def test_a_url_whose_host_or_port_cannot_be_read_is_refused(host):
    with pytest.raises(ValueError, match="is not the URL of a model: http://HOST:PORT/v1/models/NAME"):
        RemotePolicy(f"http://{host}/v1/models/x")


def test_a_server_and_the_model_itself_play_the_same(model, server, capsys):
    """tests/serving tests our own server."""
    policy = LocalPolicy(model)

    def answer(asked):
        inputs = asked["inputs"]
        assert asked["signature_name"] == ("act_stochastic" if "seed" in inputs else "act")
        actions = policy.act(np.float32(inputs["observations"]), inputs.get("seed"))
        return 200, json.dumps({"outputs": actions.tolist()}).encode()

    server.answer = answer
    for options, url in (([], server.url), (["--stochastic"], f"{server.url}/versions/1")):
        here = played(capsys, model / "1", *EPISODES, *options)
        assert played(capsys, url, "--env", "CartPole-v1", *EPISODES, *options) == here


def test_without_json_there_is_a_line_for_each_episode(model, capsys):
    main(["play", str(model), *EPISODES])
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
    steps = played(capsys, model, "--seed", "3", "--video", path)["lengths"][0]
    with imageio.get_reader(path) as reader:
        frames = list(reader.iter_data())
        fps = reader.get_meta_data().get("fps") or 1000 / reader.get_meta_data()["duration"]
    assert fps == pytest.approx(50)
    assert frames[0].shape[:2] == (400, 600)
    # GIF may join frames that are equal.
    assert len(frames) == steps + 1 if suffix == ".mp4" else 2 < len(frames) <= steps + 1
    assert np.abs(frames[0].astype(int) - frames[-1].astype(int)).max() > 100


def test_an_episode_without_an_end_is_cut(model, capsys, monkeypatch):
    monkeypatch.setattr("tf_trpo.cli.play._MOST_STEPS", 5)
    main(["play", str(model), "--episodes", "2", "--json"])
    captured = capsys.readouterr()
    assert json.loads(captured.out)["lengths"] == [5, 5]
    assert captured.err.count("an episode had no end after 5 steps; it is cut there\n") == 2


def test_refusals(model, exported_with, tmp_path, refused):
    folder = tmp_path / "folder.mp4"
    folder.mkdir()
    cases = {
        "the following arguments are required: model": [],
        "model (name it before --wrapper, which takes all that follows)": ["--wrapper", "a:B", model],
        "does not say which environment its model is for": ["http://localhost:1/v1/models/x"],
        "is not the URL of a model": ["http://localhost:1/other", "--env", "CartPole-v1"],
        "Connection refused": ["http://127.0.0.1:1/v1/models/x", "--env", "CartPole-v1"],
        "name it by --env": [exported_with(environment=None)],
        "holds no version": [tmp_path],
        "nowhere is not a folder: play takes": [tmp_path / "nowhere"],
        "episodes must be in [1, 1000000]": [model, "--episodes", "0"],
        "seed must be in [0, 2147483647]": [model, "--seed", "-1"],
        "video must be a file that ends with .mp4 or .gif": [model, "--video", "film.avi"],
        "film.gif: No such file": [model, "--video", tmp_path / "nowhere" / "film.gif"],
        "folder.mp4: Is a directory": [model, "--video", folder],
        "the model observes observations of shape (4,), the environment gives observations of shape (3,)": [
            model,
            "--env",
            "Pendulum-v1",
        ],
        "doesn't exist": [model, "--env", "Nowhere-v0"],
        "import the module 'antigravity', which runs its code: add --allow-import": [
            model,
            "--env",
            "antigravity:X-v0",
        ],
    }
    for words, arguments in cases.items():
        assert words in refused("play", *arguments), words


def save_model(folder, act, *, shape=(None, 4), dtype=tf.float32, endpoint="act"):
    """Save a SavedModel with one endpoint, a function of one argument, without tf_trpo."""
    [name] = inspect.signature(act).parameters
    module = tf.Module()
    module.act = tf.function(act, input_signature=[tf.TensorSpec(shape, dtype, name=name)], autograph=False)
    tf.saved_model.save(module, str(folder / "1"), signatures={endpoint: module.act})


def actions(observations):
    return {"actions": observations}


def actions_of_zero(observations):
    tf.debugging.assert_equal(observations, 0.0, "not zero")
    return {"actions": observations}


NO_ENDPOINT = "the model has no endpoint act from observations to actions, with batches; it has"
FOREIGN = [
    (lambda x: {"actions": x}, {}, f"{NO_ENDPOINT} act"),
    (lambda observations: {"values": observations}, {}, f"{NO_ENDPOINT} act"),
    (actions, {"shape": (4,)}, f"{NO_ENDPOINT} act"),
    (actions, {"endpoint": "serving_default"}, f"{NO_ENDPOINT} serving_default"),
    (actions, {"dtype": tf.int32}, "the model takes observations as int32, not as float32"),
    (actions_of_zero, {}, "the model refuses the inputs"),
    (
        lambda observations: {"actions": tf.reduce_sum(observations)},
        {},
        "of shape () for 1 observations",
    ),
]


def test_foreign_models_are_played_if_they_are_trusted_and_have_the_endpoints(tmp_path, refused, capsys):
    for number, (act, signature, words) in enumerate(FOREIGN):
        save_model(tmp_path / str(number), act, **signature)
        assert words in refused("play", tmp_path / str(number), "--env", "CartPole-v1", "--trust"), number
    # Pushing to the side to which the pole leans is a poor policy that works for a while.
    save_model(
        tmp_path / "good", lambda observations: actions(tf.cast(observations[:, 2] > 0, tf.int32)), dtype=tf.float64
    )
    good = [tmp_path / "good", "--env", "CartPole-v1"]
    assert "tf_trpo did not write it" in refused("play", *good)
    assert "no endpoint act_stochastic" in refused("play", *good, "--trust", "--stochastic")
    assert 20 < played(capsys, *good, "--trust")["lengths"][0] < 100


def test_an_id_that_imports_a_module_needs_the_flag(exported_with, importable, refused, capsys):
    imported = importable(
        "strange",
        "import gymnasium\n"
        "gymnasium.register('Strange-v0', 'gymnasium.envs.classic_control:CartPoleEnv', max_episode_steps=5)\n",
    )
    model = exported_with(environment="strange:Strange-v0")
    assert "--allow-import" in refused("play", model)
    assert not imported()
    assert played(capsys, model, "--allow-import")["lengths"] == [5]
    gym.registry.pop("Strange-v0")


NO_ACTION = "answers with outputs that are not one action for each observation"
ANSWERS = {
    b"<html>": "JSON is malformed",
    b"[]": "Expected `object`, got `array`",
    b'{"predictions": [0]}': "answers without outputs",
    b'{"outputs": [[0, 1], 2]}': "answers without outputs",
    b'{"outputs": []}': NO_ACTION,
    b'{"outputs": 5}': NO_ACTION,
    b'{"outputs": null}': NO_ACTION,
    b'{"outputs": {"actions": [1]}}': NO_ACTION,
    b'{"outputs": ["left"]}': NO_ACTION,
    b'{"outputs": [0, 1]}': NO_ACTION,
    b'{"outputs": [null]}': NO_ACTION,
    b'{"outputs": [99999999999999999999999]}': NO_ACTION,
    b'{"outputs": [1e400]}': "Number out of range",
    b'{"outputs": ' + b"[" * 500 + b"]" * 500 + b"}": "answers with",
    b'{"outputs": ' + b"[" * 100_000: "recursion",
}
UNFIT = [b"[0.5]", b"[true]", b"[[[[1]]]]"]


def test_a_server_with_another_answer_is_named_with_its_answer(server, refused):
    policy = RemotePolicy(server.url)
    for body, words in ANSWERS.items():
        server.answer = lambda _, body=body: (200, body)
        with pytest.raises(RemoteError, match=re.escape(words)):
            policy.act(np.zeros((1, 4)))
    for endpoints in (None, [], {}, {"act": {}}, {"act": {"inputs": ["state"]}}):
        server.endpoints = endpoints
        with pytest.raises(RemoteError, match="says nothing of an endpoint act"):
            RemotePolicy(server.url).act(np.zeros((1, 4)))
    server.endpoints = {"act": {"inputs": {"observations": {}, "state": {}}}}
    for body in (b'{"outputs": null}', b'{"outputs": [[0]]}', b'{"outputs": {"actions": [1]}}'):
        server.answer = lambda _, body=body: (200, body)
        with pytest.raises(RemoteError, match="answers without outputs"):
            RemotePolicy(server.url).act(np.zeros((1, 4)))
    server.version = "newest"
    with pytest.raises(RemoteError, match="does not say which version of the model it serves"):
        RemotePolicy(server.url).act(np.zeros((1, 4)))
    server.endpoints = {"act": {"inputs": {"observations": {}}}}
    policy.close()
    server.answer = lambda _: (404, b'{"error": "no such model"}')
    assert "answers with status 404: no such model" in refused("play", server.url, "--env", "CartPole-v1")


@pytest.mark.parametrize("body", [b"no backend", b"<html>", b"", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_the_status_of_an_answer_without_a_reason_is_named(body, server):
    server.answer = lambda _: (503, body)
    with pytest.raises(RemoteError, match=r"/v1/models/x answers with status 503$"):
        RemotePolicy(server.url).act(np.zeros((1, 4)))


def test_an_action_outside_of_the_action_space_is_refused(server, refused):
    policy = RemotePolicy(server.url)
    for outputs in UNFIT:
        server.answer = lambda _, outputs=outputs: (200, b'{"outputs": ' + outputs + b"}")
        with pytest.raises(ValueError, match=r"does not lie in the environment's Discrete\(2\)"):
            fitting_actions(policy.act(np.zeros((1, 4))), gym.spaces.Discrete(2))
    policy.close()
    server.answer = lambda _: (200, b'{"outputs": [1.0]}')
    assert "does not lie in the environment's Box(" in refused("play", server.url, "--env", "Pendulum-v1")

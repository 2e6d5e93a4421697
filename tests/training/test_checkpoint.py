"""Checkpoints whose manifest vouches for what a stranger has put there: refused, and the agent stays as it was."""

import json
import shutil
import sys
import zipfile

import numpy as np
import pytest
import tensorflow as tf

import tf_trpo
from tf_trpo.callbacks import Checkpoint
from tf_trpo.training import CheckpointError
from tf_trpo.training import checkpoints as module

FIT = {"num_envs": 2, "num_steps": 16, "seed": 3, "verbose": 0}


def make():
    agent = tf_trpo.TRPO.for_env("CartPole-v1", hidden_sizes=[4], value_hidden_sizes=[4], seed=0)
    agent.compile(jit_compile=False, value_epochs=1)
    return agent


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    make().fit("CartPole-v1", 60, callbacks=[Checkpoint(folder, 1, keep=1)], **FIT)
    return folder


@pytest.fixture
def checkpoint(written, tmp_path):
    [path] = shutil.copytree(written, tmp_path / "checkpoints").iterdir()
    return path


def sealed(path):
    """With a manifest that is right."""
    files = {name: module._fingerprint(path / name) for name in module._FILES}
    (path / "manifest.json").write_text(json.dumps({"format": 2, "files": files}))
    return path


def with_json(path, change):
    file = path / "loop.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    return sealed(path)


def refused(path, assert_same_weights, match):
    agent = make()
    before = agent.get_weights()
    with pytest.raises(CheckpointError, match=match):
        agent.load_checkpoint(path)
    assert_same_weights(agent.get_weights(), before)


def fit_refused(path, assert_same_weights, match):
    agent = make()
    before = agent.get_weights()
    with pytest.raises(CheckpointError, match=match):
        agent.fit("CartPole-v1", 200, resume_from=path.parent, **FIT)
    assert_same_weights(agent.get_weights(), before)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((10**12,), "<f8"), ((2**62, 2**62), "<f8"), ((-4,), "<f8"), ((4,), "<f4"), ((4,), "|O")]
)
def test_an_array_that_claims_what_it_has_not_is_refused_before_it_is_allocated(
    shape, dtype, checkpoint, assert_same_weights
):
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(32)
    with zipfile.ZipFile(checkpoint / "loop.npz", "a") as archive:
        archive.writestr("more.npy", content)
    refused(sealed(checkpoint), assert_same_weights, r"more.npy claims .*, which it does not hold")


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\x93NUMPY\x03\x00", b"\x93NUMPY\x01\x00\x10\x00__import__('os')", b"\x80\x04."]
)
def test_an_entry_that_is_no_array_is_refused(content, checkpoint, assert_same_weights):
    with zipfile.ZipFile(checkpoint / "loop.npz", "a") as archive:
        archive.writestr("more.npy", content)
    refused(sealed(checkpoint), assert_same_weights, "is no checkpoint of this agent")


@pytest.mark.parametrize("file", ["variables.index", "variables.data-00000-of-00001"])
@pytest.mark.parametrize("share", [0, 0.02, 0.05])
def test_variables_cut_short_leave_the_agent_as_it_was(file, share, checkpoint, assert_same_weights):
    path = checkpoint / file
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refused(sealed(checkpoint), assert_same_weights, "is no checkpoint of this agent")


@pytest.mark.parametrize(
    "changes",
    [
        {"start_steps": -1},
        {"start_iterations": -(10**9)},
        {"elapsed": float("nan")},
        {"elapsed": float("inf")},
        {"faults": 2**63},
    ],
    ids=str,
)
def test_numbers_that_no_loop_has_are_refused(changes, checkpoint, assert_same_weights):
    refused(with_json(checkpoint, lambda content: content.update(changes)), assert_same_weights, "that no loop has")


def attributes(content, layer):
    return content["environments"]["environments"][0][layer]["attributes"]


def layer_with(content, name):
    layers = content["environments"]["environments"][0]
    return next(layer["attributes"] for layer in layers if name in layer["attributes"])


STATES = {
    "a way to render": lambda content: layer_with(content, "render_mode").update(render_mode="human"),
    "text for a number": lambda content: layer_with(content, "gravity").update(gravity="os.system"),
    "an array of another shape": lambda content: layer_with(content, "state").update(state={"array": "autoreset"}),
    "a generator out of range": lambda content: layer_with(content, "_np_random")["_np_random"]["generator"][
        "state"
    ].update(state=2**200),
    "another generator": lambda content: layer_with(content, "_np_random").update(_np_random={"generator": "MT19937"}),
    "an array that is not there": lambda content: layer_with(content, "state").update(state={"array": "nowhere"}),
    "two tags": lambda content: layer_with(content, "state").update(state={"array": "a", "tuple": []}),
    "another class": lambda content: content["environments"]["environments"][0][-1].update({"class": "os"}),
    "one more attribute": lambda content: layer_with(content, "gravity").update(step="x"),
    "fewer environments": lambda content: content["environments"]["environments"].pop(),
    "no layers": lambda content: content["environments"].update(environments=None),
}


@pytest.mark.parametrize("name", STATES)
def test_a_state_that_environments_cannot_have_is_refused_and_imports_nothing(name, checkpoint, assert_same_weights):
    with_json(checkpoint, STATES[name])
    had_pygame = "pygame" in sys.modules
    fit_refused(checkpoint, assert_same_weights, "the state is not one of these environments")
    assert ("pygame" in sys.modules) == had_pygame


def test_a_state_nested_deeper_than_the_stack_is_refused(checkpoint, assert_same_weights):
    def nest(content):
        value = 0
        for _ in range(450):
            value = {"tuple": [value]}
        layer_with(content, "gravity").update(gravity=value)

    fit_refused(with_json(checkpoint, nest), assert_same_weights, "is no checkpoint of this")


@pytest.mark.parametrize(
    ("name", "array", "match"),
    [
        ("episodes", np.array(3.0), "episodes of the checkpoint is"),
        ("episodes", np.array([[1.0, np.inf]]), "episodes of the checkpoint are not finite"),
        ("episodes", np.array([[1.0, -1.0]]), "has a negative length"),
        ("episode_lengths", np.array([1, -1]), "has a negative length"),
        ("episode_returns", np.array([0.0, np.nan]), "episode_returns of the checkpoint are not finite"),
    ],
)
def test_arrays_that_no_loop_has_are_refused(name, array, match, checkpoint, assert_same_weights):
    with np.load(checkpoint / "loop.npz") as file:
        arrays = dict(file) | {name: array}
    np.savez(checkpoint / "loop.npz", **arrays)
    fit_refused(sealed(checkpoint), assert_same_weights, match)


@pytest.mark.parametrize(
    ("group", "position", "value", "match"),
    [
        ("policy", 0, np.nan, "is not finite"),
        ("value_optimizer", -1, np.inf, "is not finite"),
        ("counters", 0, -1, "are those of no training"),
        ("counters", 1, -1, "are those of no training"),
    ],
)
def test_variables_that_no_agent_has_are_refused(group, position, value, match, checkpoint, assert_same_weights):
    agent = make()
    agent.load_checkpoint(checkpoint)
    variables = module._variables(agent)
    variable = variables[group][position]
    variable.assign(np.full(variable.shape, value))
    for path in checkpoint.glob("variables.*"):
        path.unlink()
    tf.train.Checkpoint(**variables).write(str(checkpoint / "variables"))
    refused(sealed(checkpoint), assert_same_weights, match)


def test_a_good_one_is_not_refused(checkpoint, assert_same_weights):
    agent = make()
    agent.load_checkpoint(with_json(checkpoint, lambda content: None))
    assert int(agent.env_steps) >= 60
    assert all(np.isfinite(weights).all() for weights in agent.get_weights())

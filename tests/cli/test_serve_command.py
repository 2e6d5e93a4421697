"""`serve` refuses bad input in one line; tests/serving tests the server itself."""

import builtins
import json
import shutil
import socket
import sys

import pytest

import tf_trpo
from tf_trpo.extras import not_installed
from tf_trpo.models import PolicySettings


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "CartPole-v1"
    tf_trpo.TRPO.for_env("CartPole-v1", policy=PolicySettings((4,))).export(folder)
    return folder


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--max-batch", "0"], "max_batch must be at least 1"),
        (["--max-request-bytes", "0"], "max_request_bytes must be at least 1"),
        (["--max-waiting", "-1"], "max_waiting must be at least 1"),
        (["--max-connections", "0"], "max_connections must be at least 1"),
        (["--timeout", "0"], "timeout must be in (0, 86400]"),
        (["--timeout", "nan"], "timeout must be in (0, 86400]"),
        (["--poll-seconds", "inf"], "poll_seconds must be in (0, 86400]"),
        (["--port", "65536"], "port must be in [0, 65535]"),
        (["--threads", "-1"], "threads must be zero or positive"),
        (["--host", ""], "host must be an address, such as 0.0.0.0"),
        (["--name", "a/b"], "name must be without / and :"),
    ],
)
def test_options_out_of_range(refused, model, options, words):
    assert words in refused("serve", model, *options)


def test_a_folder_without_a_model(refused, tmp_path):
    assert f"{tmp_path / 'nowhere'}: No such file" in refused("serve", tmp_path / "nowhere")
    assert "holds no version: a folder with a number" in refused("serve", tmp_path)
    (tmp_path / "1").mkdir()
    assert "1 holds no saved_model.pb" in refused("serve", tmp_path, progress_lines=0)


def test_a_version_instead_of_its_model(refused, model):
    assert f"1 holds no version: a folder with a number for a name; serve {model}" in refused("serve", model / "1")


def test_a_damaged_model_and_a_foreign_model(refused, model, tmp_path):
    shutil.copytree(model, tmp_path / "model")
    metadata = tmp_path / "model" / "1" / "assets.extra" / "tf_trpo.json"
    content = json.loads(metadata.read_text())
    content["files"]["saved_model.pb"] = "0" * 64
    metadata.write_text(json.dumps(content))
    for options in ([], ["--trust"]):
        assert "is not whole: saved_model.pb" in refused("serve", tmp_path / "model", *options)
    metadata.unlink()
    said = refused("serve", tmp_path / "model")
    assert "tf_trpo did not write it" in said
    assert "only --trust (trust=True) loads it" in said


def test_a_port_that_is_in_use(refused, model):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert f"127.0.0.1:{port}: Address already in use" in refused("serve", model, "--port", port)


def test_without_the_extra_it_is_named(refused, model, monkeypatch):
    original = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "uvicorn":
            raise ModuleNotFoundError("No module named 'uvicorn'", name=name)
        return original(name, *args, **kwargs)

    # Another test may have run the server in this process.
    monkeypatch.delitem(sys.modules, "tf_trpo.serving.server", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    assert str(not_installed("uvicorn")) in refused("serve", model)

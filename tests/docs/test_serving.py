"""The page about serving: its session runs, and endpoints, limits and options are right."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tf_trpo.serving.server import _HEADER_BYTES, _KEEP_ALIVE_SECONDS, _OTHER_FILES
from tf_trpo.serving.settings import ServerSettings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
(SESSION,) = re.findall(r"```bash\n(.*?)```", PAGE, re.S)

SHORT_TRAINING = """
. .venv/bin/activate
make() {
    python scripts/train.py --preset classic_control --total-steps 4096 --no-jit-compile --eval-every 0 --export
}
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture
def checkout(tmp_path):
    """A checkout whose .venv is the current Python's."""
    for name in ("tf_trpo", "scripts", "setup.cfg", "pyproject.toml", "Makefile", "constraints.txt"):
        (tmp_path / name).symlink_to(ROOT / name)
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "python").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    (binaries / "python").chmod(0o755)
    (binaries / "activate").write_text(f'PATH={shlex.quote(str(binaries))}:"$PATH"\n')
    (tmp_path / ".venv" / ".installed").touch()
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("training", [SHORT_TRAINING, ""], ids=["short", "make train"])
def test_the_session_runs_from_training_to_answers(checkout, training):
    # pip would change the environment in which the tests run.
    script = f"set -e\npip() {{ true; }}\n{training}\n{SESSION}".replace("8501", str(free_port()))
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=1200,
        env={**os.environ, "PYTHONPATH": str(checkout), "TF_CPP_MIN_LOG_LEVEL": "2"},
    )
    assert done.returncode == 0, done.stderr
    status, act, value, sampled = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    assert status["model_version_status"][0]["state"] == "AVAILABLE"
    assert act["predictions"] in ([0], [1])
    assert sampled["outputs"] in ([0], [1])
    (predicted,) = value["predictions"]
    assert 1 < predicted < 200
    assert len(re.findall(r"^episode \d: return ", done.stdout, re.M)) == 2
    if not training:
        assert "mean return 500.00, 2 episodes" in done.stdout
    assert "trained for" in (checkout / "models" / "CartPole-v1" / "README.md").read_text()


def test_the_limits_are_those_of_the_server():
    defaults = ServerSettings()
    for option, words in {
        "host": defaults.host,
        "max-batch": f"{defaults.max_batch} rows",
        "max-request-bytes": f"{defaults.max_request_bytes // 2**20} MiB",
        "max-waiting": f"{defaults.max_waiting} requests",
        "max-connections": f"{defaults.max_connections}, or `ulimit -Hn` minus {_OTHER_FILES}",
        "timeout": f"{defaults.timeout:g} s to arrive",
    }.items():
        assert f"| `--{option}` | {words}" in PAGE
    assert f"| headers | {_HEADER_BYTES // 1024} KiB if they arrive in pieces" in PAGE
    assert f"| idle after an answer | {_KEEP_ALIVE_SECONDS} s |" in PAGE


def test_the_named_model_exists():
    for path in re.findall(r"saved_models/[\w./-]+\w", PAGE):
        assert (ROOT / path).exists(), path


def test_the_docker_command_mounts_the_model_where_tensorflow_serving_looks():
    (command,) = re.findall(r"^    (docker run .+?)$", PAGE.replace("\\\n", " "), re.M)
    words = shlex.split(command)
    name = words[words.index("-e") + 1].removeprefix("MODEL_NAME=")
    source, target = words[words.index("-v") + 1].split(":")
    assert target == f"/models/{name}"
    assert (ROOT / source.removeprefix("$PWD/") / "1" / "saved_model.pb").is_file()

"""A small run that is trained once for all tests of commands."""

import contextlib
import io
import json
import shutil
from typing import NamedTuple

import pytest

from tf_trpo.cli import main
from tf_trpo.experiment import RunFolder

SMALL = "--num-steps 32 --total-steps 64 --hidden-sizes 4 --value-hidden-sizes 4 --value-epochs 1 --no-jit-compile"
SMALL += " --eval-episodes 2 --seed 6 --preset none"


class Finished(NamedTuple):
    """A run of CartPole-v1 with an exported model, and the output of its training; tests must not change it."""

    folder: RunFolder
    output: str
    errors: str


@pytest.fixture(scope="session")
def small():
    """Options of a small training. Agents with these options and equal spaces share traced functions."""
    return SMALL.split()


@pytest.fixture(scope="session")
def finished(small, tmp_path_factory):
    """A `Finished` run with the options `small`."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        main(["train", *small, "--run-dir", str(folder), "--export"])
    return Finished(RunFolder(folder), output.getvalue(), errors.getvalue())


@pytest.fixture
def run(finished, tmp_path, monkeypatch):
    """A copy of the finished run, at "run" in the working folder; if it is resumed, it exports nothing."""
    monkeypatch.chdir(tmp_path)
    copy = RunFolder(shutil.copytree(finished.folder.path, "run"))
    config = json.loads(copy.config.read_text())
    config["settings"]["export"] = False
    copy.config.write_text(json.dumps(config))
    return copy

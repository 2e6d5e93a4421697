"""The Makefile: it does not use a .venv of another Python than the one that is asked for."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def fake_python(path, version):
    """A program that says that it has this version of Python, whatever it is asked, and notes that it was asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\ntouch "$0.asked"\necho {version}\n')
    path.chmod(0o755)
    return path


@pytest.fixture
def make(tmp_path):
    """make(*arguments, **variables): a dry run of make in a folder whose .venv has Python 3.11."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("setup.cfg", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    fake_python(tmp_path / ".venv" / "bin" / "python", "3.11")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "PYTHON"))}

    def run(*arguments, **variables):
        command = ["make", "--dry-run", *map(str, arguments)]
        how = {"capture_output": True, "text": True, "timeout": 60, "check": False}
        return subprocess.run(command, cwd=tmp_path, env={**environment, **variables}, **how)

    return run


@pytest.mark.parametrize("place", ["command line", "environment"])
def test_another_python_than_that_of_the_environment_is_refused(place, make, tmp_path):
    for version, is_refused in (("3.13", True), ("3.11", False)):
        python = str(fake_python(tmp_path / f"python{version}", version))
        done = make("test", f"PYTHON={python}") if place == "command line" else make("test", PYTHON=python)
        assert (done.returncode != 0) == is_refused
        assert (".venv has Python 3.11: run make clean first" in done.stderr) == is_refused
        assert ("-m pytest" in done.stdout) != is_refused


def test_without_an_environment_or_to_remove_it_any_python_will_do(make, tmp_path):
    python = fake_python(tmp_path / "python3.13", "3.13")
    assert make("clean", f"PYTHON={python}").returncode == 0
    shutil.rmtree(tmp_path / ".venv")
    assert f"{python} -m venv .venv" in make("test", f"PYTHON={python}").stdout


def test_nothing_is_asked_if_no_python_is_given(make, tmp_path):
    assert make("test").returncode == 0
    assert not (tmp_path / ".venv" / "bin" / "python.asked").exists()

"""The README's examples run as they stand, and its commands name options and targets that exist."""

import re
import shlex
from pathlib import Path

import pytest

from tf_trpo import Experiment
from tf_trpo.cli.parsing import OptionParser
from tf_trpo.cli.train import CommandOptions, read_command

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands_starting_with(start: str) -> list[list[str]]:
    joined = README.replace("\\\n", " ")
    return [
        shlex.split(line, comments=True) for line in re.findall(r"^    (.+)$", joined, re.M) if line.startswith(start)
    ]


def test_python_examples_run_and_learn(run_examples, tmp_path):
    examples, output = run_examples(README)
    assert all(len(example.splitlines()) <= 24 for example in examples)
    assert all(float(found) > 100 for found in re.findall(r"'mean_return': ([0-9.]+)", output))
    assert output.count("mean_return") == 2
    assert (tmp_path / "saved_models" / "CartPole-v1" / "1" / "saved_model.pb").is_file()
    assert list((tmp_path / "runs" / "example").glob("events.*"))


@pytest.mark.parametrize("command", commands_starting_with("python scripts/train.py"), ids=" ".join)
def test_train_commands_parse(command):
    # A run that is resumed is not there.
    OptionParser("train", CommandOptions, Experiment).read(command[2:])
    if "--resume" not in command:
        read_command(command[2:])


def test_every_script_is_there():
    scripts = {command[1] for command in commands_starting_with("python scripts/")}
    assert scripts >= {"scripts/train.py", "scripts/evaluate.py", "scripts/export.py"}
    for script in scripts:
        assert (ROOT / script).is_file()


def test_make_targets_are_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {command[1] for command in commands_starting_with("make ")}
    assert targets >= {"train", "test"}
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.M)


def test_linked_files_are_there():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target

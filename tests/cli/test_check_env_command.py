"""`check-env` on the command line: its output and exit status."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tf_trpo.cli import main

ROOT = Path(__file__).parents[2]
MODULE = "module_with_environments_to_check"
TEXT = """
import gymnasium
import numpy as np

class Walk(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-5, 5, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, length=3):
        self.length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.time += 1
        return np.zeros(1, np.float32), float(action), self.time == self.length, False, {"speed": self.time}

def height(observation, action, reward, next_observation, info):
    return float("inf") if info["speed"] > 4 else 1.0

class Old(Walk):
    def reset(self):
        return np.zeros(1, np.float32)

class Twice(gymnasium.RewardWrapper):
    def reward(self, reward):
        return 2 * reward
"""


@pytest.fixture
def module(importable):
    return importable(MODULE, TEXT)


def test_a_good_environment_ends_with_status_0_and_how_to_train_in_it(capsys):
    making = ["--env-kwargs", '{"max_episode_steps": 9}', "--action-masks", "off"]
    main(["check-env", "CartPole-v1", *making, "--steps", "50"])
    text = capsys.readouterr().out
    assert "Found 0 problems that prevent training and 0 others." in text
    command = shlex.split(text.splitlines()[-1].removeprefix("To train in it: "))
    assert command[3:] == ["train", "--env", "CartPole-v1", *making]


def test_the_advice_for_training_in_your_own_class_works(module, small, capsys):
    making = ["--env-kwargs", '{"length": 7}']
    main(["check-env", f"{MODULE}:Walk", *making, "--steps", "20"])
    said = capsys.readouterr().out.splitlines()[-1].removeprefix("To train in it: python -m tf_trpo ")
    assert shlex.split(said) == ["train", "--env", f"{MODULE}:Walk", *making, "--allow-import"]
    main([*shlex.split(said), *small, "--run-dir", "run", "--export"])
    # The commands that follow make the environment from the name too.
    assert json.loads(Path("run/evaluation.json").read_text())["mean_length"] == 7
    capsys.readouterr()
    main(["evaluate", "run", "--allow-import", "--episodes", "2", "--json"])
    assert json.loads(capsys.readouterr().out)["mean_length"] == 7
    main(["play", "run", "--allow-import", "--json"])
    assert json.loads(capsys.readouterr().out)["lengths"] == [7]


def test_the_default_folder_of_a_run_has_no_colon(module, small, capsys):
    main(["train", "--env", f"{MODULE}:Walk", "--allow-import", *small])
    # Not every system allows a colon in file names.
    assert [path.name for path in Path("runs").iterdir()] == [f"{MODULE}-Walk-6"]
    assert re.search(r"^Export for serving: .* --output models/Walk$", capsys.readouterr().out, re.MULTILINE)


def test_a_module_of_the_working_folder_is_found(tmp_path, monkeypatch, capsys, request):
    (tmp_path / f"{MODULE}.py").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    request.addfinalizer(lambda: sys.modules.pop(MODULE, None))
    main(["check-env", f"{MODULE}:Walk", "--steps", "10"])
    assert f"--env {MODULE}:Walk" in capsys.readouterr().out


def test_a_script_finds_a_module_of_the_working_folder(tmp_path):
    # Python puts the script's own folder on sys.path, not the working folder.
    (tmp_path / f"{MODULE}.py").write_text(TEXT)
    command = [sys.executable, str(ROOT / "scripts" / "check_env.py"), f"{MODULE}:Walk", "--steps", "10"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    how = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "timeout": 120}
    done = subprocess.run(command, check=False, **how)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"--env {MODULE}:Walk" in done.stdout


def test_a_file_of_the_working_folder_takes_the_place_of_no_installed_module(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", ["elsewhere"])
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        with pytest.raises(SystemExit):
            main(["evaluate", "--help"])
    assert sys.path == ["elsewhere", str(tmp_path)]


def test_a_class_of_a_module_is_checked_with_its_arguments(module, capsys):
    main(["check-env", f"{MODULE}:Walk", "--env-kwargs", '{"length": 7}', "--steps", "50", "--json"])
    report = json.loads(capsys.readouterr().out)
    # They end by themselves, always after as many steps.
    assert [finding["name"] for finding in report["findings"]] == ["equal-lengths"]
    assert "7 to 7 steps long" in report["facts"]["episodes"]


def test_a_bad_environment_ends_with_status_3_and_what_to_do(module, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(["check-env", f"{MODULE}:Old"])
    assert exit_info.value.code == 3
    text = capsys.readouterr().out
    assert "error (failure)\n" in text
    assert "reset(seed=..., options=...) must return (observation, info)" in text
    assert "What to do: " in text
    assert "Found 1 problem that prevents training and " in text
    assert "To train in it" not in text


def test_an_id_that_does_not_exist_is_a_finding(capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(["check-env", "NoSuch-v1"])
    assert exit_info.value.code == 3
    assert "doesn't exist" in capsys.readouterr().out


def test_wrappers_and_ids_with_modules_need_the_flag(module, refused, capsys):
    wrapper = ["--wrapper", f"{MODULE}:Twice"]
    for arguments in (["CartPole-v1", *wrapper], [f"{MODULE}:Walk-v0"]):
        assert "--allow-import" in refused("check-env", *arguments)
        assert not module()
    main(["check-env", "CartPole-v1", *wrapper, "--steps", "20", "--allow-import"])
    text = capsys.readouterr().out
    assert "2 to 2 in 20 steps" in text
    assert "--allow-import" in text.splitlines()[-1]


def test_costs_are_computed_and_are_in_the_command_that_trains(module, refused, capsys):
    costs, making = ["--costs", "speed", f"{MODULE}:height"], ["--steps", "20", "--allow-import"]
    assert "--allow-import" in refused("check-env", "CartPole-v1", *costs)
    assert not module()
    main(["check-env", f"{MODULE}:Walk", *costs, *making])
    command = shlex.split(capsys.readouterr().out.splitlines()[-1].removeprefix("To train in it: "))
    assert command[3:] == ["train", "--env", f"{MODULE}:Walk", *costs, "--allow-import"]
    for arguments, message in (
        (["CartPole-v1", "--costs", "speed"], "an info without the key 'speed'"),
        ([f"{MODULE}:Walk", *costs, "--env-kwargs", '{"length": 5}'], "a cost of inf in step 5 of an episode"),
    ):
        with pytest.raises(SystemExit) as exit_info:
            main(["check-env", *arguments, *making])
        assert exit_info.value.code == 3
        assert message in capsys.readouterr().out
    assert "has no such function" in refused("check-env", "CartPole-v1", "--costs", f"{MODULE}:no", "--allow-import")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nmae\n", "NameError"),
        ("class Room(\n", "SyntaxError"),
        ("raise SystemExit(1)\n", "SystemExit: 1"),
        ("raise ValueError('no licence')\n", "ValueError: no licence"),
        ("import no_such_module\n", "No module named 'no_such_module'"),
    ],
)
def test_a_module_that_fails_when_it_is_imported_is_a_finding(text, reason, importable, refused, capsys):
    importable(MODULE, text)
    with pytest.raises(SystemExit) as exit_info:
        main(["check-env", f"{MODULE}:Room"])
    assert exit_info.value.code == 3
    output = capsys.readouterr().out
    assert "error (cannot-be-made)" in output
    message = f"the module of {MODULE}:Room cannot be imported: {reason}"
    assert message in output
    assert message in refused("train", "--env", f"{MODULE}:Room", "--allow-import")


def test_a_missing_wrapper_is_refused(refused):
    assert "cannot be imported" in refused("check-env", "CartPole-v1", "--wrapper", "gymnasium.wrappers:NoSuch")

"""`check-env` on the command line: its output and exit status."""

import json
import re
import shlex
import sys
from pathlib import Path

import gymnasium
import pytest

from tf_trpo.cli import main

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
        return np.zeros(1, np.float32), float(action), self.time == self.length, False, {}

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
    assert "Found: 0 that prevent training, 0 others." in text
    command = shlex.split(text.splitlines()[-1].removeprefix("To train in it: "))
    assert command[3:] == ["train", "--env", "CartPole-v1", *making]


def test_the_advice_for_training_in_your_own_class_works(importable, small, capsys):
    name = "module_with_one_environment"
    importable(name, TEXT)
    main(["check-env", f"{name}:Walk", "--steps", "20"])
    said = capsys.readouterr().out.splitlines()[-1].removeprefix("To train in it: ")
    in_python = re.search(r"in Python (.+?)\. Or ", said)[1]
    assert in_python == "tf_trpo.TRPO.for_env(Walk).fit(Walk, 100_000)"
    line, command = re.search(r"write (.+) below it, and python -m tf_trpo (.+)$", said).groups()
    sys.modules.pop(name)
    Path(f"modules/{name}.py").write_text(f"{TEXT}\n{line}\n")
    main([*shlex.split(command), *small])
    # Not every system allows a colon in file names.
    assert [path.name for path in Path("runs").iterdir()] == [f"{name}-Walk-v0-6"]
    assert re.search(r"^Export for serving: .* --output saved_models/Walk-v0$", capsys.readouterr().out, re.MULTILINE)
    gymnasium.registry.pop("Walk-v0")


def test_a_class_of_a_module_is_checked_with_its_arguments(module, capsys):
    main(["check-env", f"{MODULE}:Walk", "--env-kwargs", '{"length": 7}', "--steps", "50", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["findings"] == []
    assert "7 to 7 steps long" in report["facts"]["episodes"]


def test_a_bad_environment_ends_with_status_3_and_what_to_do(module, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(["check-env", f"{MODULE}:Old"])
    assert exit_info.value.code == 3
    text = capsys.readouterr().out
    assert "error (failure)\n" in text
    assert "reset(seed=..., options=...) must return (observation, info)" in text
    assert "What to do: " in text
    assert "Found: 1 that prevent training" in text
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


def test_a_missing_module_is_refused(refused):
    assert "the module of no_such_module:Env cannot be imported" in refused("check-env", "no_such_module:Env")
    assert "cannot be imported" in refused("check-env", "CartPole-v1", "--wrapper", "gymnasium.wrappers:NoSuch")

"""Arguments and wrappers of an environment: from the command line through the run folder to the exported model."""

import dataclasses
import json
import shutil
import sys

import gymnasium as gym
import pytest
import yaml

from tf_trpo import Experiment
from tf_trpo.cli import main
from tf_trpo.experiment.settings import EnvironmentSettings
from tf_trpo.serving import read_metadata
from tf_trpo.serving.metadata import write_metadata

MODULE = "module_with_a_wrapper"
WRAPPER = f"{MODULE}:Twice"
KWARGS = '{"max_episode_steps": 5, "sutton_barto_reward": false}'


@pytest.fixture
def imported(importable):
    """A function that returns whether the wrapper's module was imported; the module registers an environment."""
    yield importable(
        MODULE,
        "import gymnasium\n"
        "from gymnasium.envs.classic_control import CartPoleEnv\n"
        "class Twice(gymnasium.Wrapper):\n"
        "    def step(self, action):\n"
        "        observation, reward, *ended, info = self.env.step(action)\n"
        "        return observation, 2 * reward, *ended, {'factor': 2}\n"
        "gymnasium.registry.pop('Other-v0', None)\n"
        "gymnasium.register('Other-v0', CartPoleEnv, max_episode_steps=7)\n",
    )
    gym.registry.pop("Other-v0", None)


def printed(capsys, *arguments):
    main([*arguments, "--json"])
    return json.loads(capsys.readouterr().out)


def test_settings_are_kept_from_training_to_playing_and_modules_need_the_flag(imported, small, refused, capsys):
    train = [
        "train",
        *small,
        "--quiet",
        "--run-dir",
        "run",
        "--eval-every",
        "64",
        "--checkpoint-every",
        "0",
        "--export",
    ]
    train += ["--env-kwargs", KWARGS, "--wrapper", WRAPPER, "--info-keys", "factor"]
    assert f"wrapper {WRAPPER} makes Python import the module '{MODULE}'" in refused(*train)
    assert not imported()
    main([*train, "--allow-import"])
    with open("run/config.json") as file:
        config = json.load(file)["settings"]
    assert (config["env_kwargs"], config["wrapper"]) == (json.loads(KWARGS), [WRAPPER])
    experiment = Experiment.from_run("run")
    assert (experiment.environment.env_kwargs, experiment.environment.wrapper) == (json.loads(KWARGS), (WRAPPER,))
    with open("run/evaluation.json") as file:
        assert json.load(file)["mean_return"] == 10.0
    capsys.readouterr()
    sys.modules.pop(MODULE)
    model = ["play", "run/saved_model"]
    for command in (["evaluate", "run"], ["train", "--resume", "run", "--total-steps", "128"], model):
        assert "--allow-import" in refused(*command)
        assert not imported()
    found = printed(capsys, "evaluate", "run", "--episodes", "2", "--allow-import")
    assert (found["mean_return"], found["info/factor"]) == (10.0, 2.0)
    assert printed(capsys, *model, "--allow-import") == {"mean_return": 10.0, "returns": [10.0], "lengths": [5]}
    # Another environment does not get the model's settings.
    assert printed(capsys, *model, "--env", f"{MODULE}:Other-v0", "--allow-import")["returns"] == [7.0]
    longer = ["--env-kwargs", '{"max_episode_steps": 3}', "--wrapper", "gymnasium.wrappers:NormalizeObservation"]
    assert printed(capsys, *model, *longer)["returns"] == [3.0]
    main(["train", "--resume", "run", "--total-steps", "128", "--quiet", "--allow-import"])
    with open("run/history.csv") as file:
        assert len(file.readlines()) == 1 + 5


def test_frame_stacking_is_kept_from_training_to_playing(small, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["train", *small, "--frame-stack", "4", "--quiet", "--run-dir", "run", "--export"])
    experiment = Experiment.from_run("run")
    assert experiment.environment == EnvironmentSettings(frame_stack=4)
    metadata = read_metadata(tmp_path / "run" / "saved_model" / "1")
    assert metadata.observation_space["shape"] == [16]
    assert metadata.environment_arguments["wrappers"] == ["tf_trpo.environments:FrameStack(4)"]
    capsys.readouterr()
    assert printed(capsys, "evaluate", "run", "--episodes", "2")["mean_return"] > 5
    assert printed(capsys, "play", "run/saved_model")["lengths"][0] > 5
    main(["train", "--resume", "run", "--total-steps", "128", "--quiet"])


def test_a_preset_sets_them_in_yaml(imported, refused, tmp_path):
    content = {"env": "CartPole-v1", "env_kwargs": {"max_episode_steps": 5}, "wrapper": [WRAPPER]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    assert Experiment.from_file("mine.yaml").environment.arguments() == {
        "env_kwargs": {"max_episode_steps": 5},
        "wrappers": [WRAPPER],
        "action_masks": "auto",
    }
    assert "--allow-import" in refused("train", "--preset", "mine.yaml")
    assert not imported()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--env-kwargs", "map_name=8x8"], "env_kwargs must be a JSON object, such as '{\"key\": 1}', got"),
        (["--env-kwargs", "[1]"], "env_kwargs must be a JSON object, such as '{\"key\": 1}', got '[1]'"),
        (["--env-kwargs", '{"g": NaN}'], "env_kwargs must be a JSON object, got {'g': nan}"),
        (["--env-kwargs", '{"no_such_argument": 1}'], "no_such_argument"),
        (["--wrapper", "Twice"], "wrapper must be module:Class, got 'Twice'"),
        (["--wrapper", "no_such_module:Twice", "--allow-import"], "cannot be imported: No module named"),
        (["--frame-stack", "0"], "frame_stack must be in [1, 64], got 0"),
        (["--env", "FrozenLake-v1", "--frame-stack", "2"], "Discrete(16) has no Box to stack"),
        (
            ["--backend", "envpool", "--frame-stack", "2"],
            "frame_stack and action_masks info do nothing with the backend envpool",
        ),
        (["--action-masks", "yes"], "action_masks must be one of auto, info, off, got 'yes'"),
        (["--backend", "envpool", "--action-masks", "info"], "do nothing with the backend envpool"),
    ],
    ids=str,
)
def test_impossible_settings_are_refused_in_one_line(arguments, message, imported, refused):
    assert message in refused("train", "--preset", "none", *arguments)


def test_an_untrusted_model_can_choose_its_environment_only(imported, refused, finished, tmp_path):
    model = shutil.copytree(finished.folder.saved_model / "1", tmp_path / "model" / "1")
    metadata = read_metadata(model)
    for arguments, message in [
        ({"wrappers": [WRAPPER]}, "--allow-import"),
        ({"wrappers": "Twice"}, "wrapper must be module:Class"),
        ({"wrappers": [3]}, "wrapper must be a tuple of text"),
        ({"env_kwargs": "x"}, "env_kwargs must be a JSON object"),
        ({"action_masks": "maybe"}, "action_masks must be one of"),
    ]:
        write_metadata(model, dataclasses.replace(metadata, environment_arguments=arguments))
        assert message in refused("play", "model")
        assert not imported()

"""Ids that make Gymnasium import a module need a flag, which only the command line can give."""

import json

import gymnasium as gym
import pytest
import yaml

import tf_trpo
from tf_trpo import Experiment
from tf_trpo.cli import main
from tf_trpo.experiment import RunFolder
from tf_trpo.models import PolicySettings, ValueSettings

MODULE = "module_with_an_environment"
ENV = f"{MODULE}:Imported-v0"


@pytest.fixture
def imported(importable):
    """A function that returns whether the module was imported; the module registers an environment."""
    yield importable(
        MODULE,
        "import gymnasium\n"
        "from gymnasium.envs.classic_control import CartPoleEnv\n"
        "gymnasium.register('Imported-v0', CartPoleEnv, max_episode_steps=20)\n",
    )
    gym.registry.pop("Imported-v0", None)


@pytest.fixture
def run(imported):
    folder = RunFolder("run")
    folder.create(Experiment(ENV).flat())
    tf_trpo.TRPO.for_env("CartPole-v1", policy=PolicySettings((4,)), value=ValueSettings((4,))).save(folder.agent)
    return folder


def test_without_the_flag_no_form_of_the_id_imports_the_module(run, imported, refused, tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"env": ENV}))
    for arguments in (
        ["train", "--env", ENV],
        ["train", "--env", ENV, "--backend", "async"],
        ["train", "--preset", "mine.yaml"],
        ["train", "--resume", "run"],
        ["evaluate", "run"],
    ):
        error = refused(*arguments)
        assert f"env {ENV} makes Python import the module '{MODULE}'" in error
        assert "--allow-import" in error
        assert not imported()
    assert {path.name for path in tmp_path.iterdir()} == {"modules", "mine.yaml", "run"}


@pytest.mark.parametrize("name", ["allow_import", "allow-import"])
@pytest.mark.parametrize("value", [True, "true"])
def test_a_file_cannot_give_the_flag(name, value, run, imported, refused, tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"env": ENV, name: value}))
    assert "unknown settings" in refused("train", "--preset", "mine.yaml")
    config = json.loads(run.config.read_text())
    config["settings"][name] = value
    run.config.write_text(json.dumps(config))
    assert "is of another version" in refused("train", "--resume", "run")
    assert f"env {ENV} makes Python import the module '{MODULE}'" in refused("evaluate", "run")
    assert not imported()


@pytest.mark.parametrize(
    "settings",
    [
        {"env": "--allow-import"},
        {"env": ["CartPole-v1", "--allow-import"]},
        {"hidden_sizes": [8, "--env", ENV]},
        {"hidden_sizes": ["8", f"--env={ENV}"]},
        {"activation": "--tyro-write-completion"},
        {"hidden_sizes": [8, "--tyro-write-completion", "bash", "stolen"]},
        {"env": ["CartPole-v1", "-h"]},
    ],
    ids=str,
)
def test_a_value_in_a_file_cannot_act_as_an_option(settings, imported, refused, tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(settings))
    refused("train", "--preset", "mine.yaml")
    assert not imported()
    assert {path.name for path in tmp_path.iterdir()} == {"modules", "mine.yaml"}


@pytest.mark.parametrize("module", ["tf_trpo.environments", "gymnasium.wrappers"])
def test_a_function_of_an_imported_module_needs_the_flag_too_if_it_is_called(module, imported, refused):
    """Wrappers of these modules need no flag, but as an environment a function would get any arguments."""
    function = f"{module}:check_environment"
    arguments = ["--env-kwargs", json.dumps({"environment": f"{MODULE}:CartPoleEnv"})]
    assert "--allow-import" in refused("train", "--env", function, *arguments)
    assert not imported()


def test_with_the_flag_the_module_is_imported(run, imported, refused, capsys):
    error = refused("train", "--allow-import", "--env", f"{MODULE}:Nothing-v0")
    assert "doesn't exist" in error
    assert error.endswith(f"{MODULE} has no class or function Nothing-v0 either.")
    assert imported()
    main(["evaluate", "run", "--allow-import", "--episodes", "2", "--json"])
    assert json.loads(capsys.readouterr().out)["mean_length"] <= 20


def test_a_missing_module_is_one_line(imported, refused):
    assert "no_such_module" in refused("train", "--allow-import", "--env", "no_such_module:Env-v0")


def test_a_cost_function_of_any_module_needs_the_flag(refused, tmp_path):
    """A wrapper of the package needs none; but a path of attributes leads from each module to what it imports."""
    cost = "tf_trpo.environments:rendering.subprocess.Popen"
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"env": "Taxi-v4", "costs": [cost]}))
    assert f"cost {cost} makes Python import the module" in refused("train", "--preset", tmp_path / "mine.yaml")

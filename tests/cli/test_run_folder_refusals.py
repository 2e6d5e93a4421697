"""evaluate and export with a folder that holds no run or a damaged one: exit status 2 and one line."""

import json
from pathlib import Path

import pytest

from tf_trpo import Experiment
from tf_trpo.cli import main
from tf_trpo.serving.metadata import METADATA_FILE


@pytest.fixture(params=["evaluate", "export"])
def command(request, tmp_path):
    """The command as a function of the run folder: its arguments."""
    if request.param == "evaluate":
        return lambda path: ["evaluate", path, "--episodes", 1]
    return lambda path: ["export", path, "--output", tmp_path / "model"]


def test_a_good_run_is_not_refused(command, run, capsys):
    main([str(argument) for argument in command(run.path)])
    assert capsys.readouterr().out


def test_a_missing_folder(command, tmp_path, refused):
    assert f"{tmp_path / 'nowhere'} does not exist" in refused(*command(tmp_path / "nowhere"))
    assert not list(tmp_path.iterdir())


def cut(path, length):
    path.write_bytes(path.read_bytes()[:length])


DAMAGE = {
    "no agent": (lambda run: run.agent.unlink(), "holds no trained agent (agent.keras is missing)"),
    "half an agent": (lambda run: cut(run.agent, 100), "agent.keras cannot be loaded"),
    "most of an agent": (lambda run: cut(run.agent, -100), "agent.keras cannot be loaded"),
    "no configuration": (
        lambda run: run.config.unlink(),
        "run is no run folder (it has no config.json); for an exported model use tf_trpo play",
    ),
    "an empty configuration": (lambda run: cut(run.config, 0), "config.json cannot be read"),
    "another configuration": (lambda run: run.config.write_text("{}"), "config.json cannot be read"),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGE.values(), ids=DAMAGE)
def test_an_incomplete_run(command, run, refused, tmp_path, damage, words):
    damage(run)
    assert words in refused(*command(run.path))
    assert not (tmp_path / "model").exists()


def test_an_environment_that_no_longer_exists(run, refused):
    run.config.write_text(json.dumps({"settings": Experiment("Gone-v0").flat()}))
    assert "Gone" in refused("evaluate", run.path)


@pytest.mark.parametrize(
    ("option", "value"), [("episodes", 0), ("episodes", -1), ("seed", -1), ("seed", 2**31)], ids=str
)
def test_an_option_of_evaluate_out_of_range(run, refused, option, value):
    assert option in refused("evaluate", run.path, f"--{option}", value)


def test_an_output_that_is_a_file(run, tmp_path, refused):
    (tmp_path / "file").write_text("mine")
    assert f"{tmp_path / 'file'}: " in refused("export", run.path, "--output", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("command", [["train", "--resume"], ["export", "--output", "model", "--card"]])
def test_a_run_of_another_version_is_one_line(command, run, refused):
    settings = Experiment().flat()
    del settings["gamma"]
    run.config.write_text(json.dumps({"settings": settings | {"std_steps": 10}}))
    assert f"{run.config} is of another version: it differs in std_steps" in refused(*command, run.path)
    run.config.write_text(json.dumps({"settings": settings}))
    assert "it differs in gamma" in refused(*command, run.path)


def test_a_run_of_another_version_is_evaluated_and_exported_in_its_environment(command, run, refused, capsys):
    settings = {"env": "CartPole-v1", "env_kwargs": {"max_episode_steps": 5}, "std_steps": 10}
    run.config.write_text(json.dumps({"settings": settings}))
    main([str(argument) for argument in command(run.path)])
    output = capsys.readouterr().out
    exported = Path(output.strip()) / METADATA_FILE
    assert "mean length 5.0," in output or '"max_episode_steps": 5' in exported.read_text()
    run.config.write_text(json.dumps({"settings": {**settings, "frame_stack": 0}}))
    assert f"{run.config}: frame_stack must be in [1, 64], got 0" in refused(*command(run.path))
    run.config.write_text(json.dumps({"settings": {"std_steps": 10}}))
    assert "it has no env" in refused(*command(run.path))

"""Training that fails: one line, status 3, and a run that can be resumed."""

import json
import re
import shutil

import pytest
from gymnasium.envs.classic_control import CartPoleEnv

import tf_trpo
from tf_trpo import Experiment
from tf_trpo.cli import main
from tf_trpo.experiment import RunFolder
from tf_trpo.figures.histories import read_history

OUT_OF_MEMORY = r"error: environment 0 raised RuntimeError: out of memory, in row \d+"


@pytest.fixture
def failed(monkeypatch, capsys):
    """failed(mode, *arguments): output of a command with status 3; CartPole fails in this mode from step 50 on."""

    def run(mode, *arguments):
        steps, step = 0, CartPoleEnv.step

        def failing(environment, action):
            nonlocal steps
            steps += 1
            if steps >= 50 and mode == "raise":
                raise RuntimeError("out of memory")
            observation, reward, *rest = step(environment, action)
            return observation, reward if steps < 50 else float("nan"), *rest

        with monkeypatch.context() as patch:
            patch.setattr(CartPoleEnv, "step", failing)
            with pytest.raises(SystemExit) as exit_info:
                main([*map(str, arguments)])
        assert exit_info.value.code == 3
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return printed

    return run


def contents(folder):
    return {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("mode", "options", "checkpoints", "message"),
    [
        ("raise", ["--checkpoint-every", "0"], 1, f"{OUT_OF_MEMORY}, in the rollout of iteration 1"),
        ("nan", [], 2, "error: 4 faults in a row, the last one: environment 0 gave a reward that is not finite"),
    ],
)
def test_a_failed_run_is_saved_and_can_be_resumed(mode, options, checkpoints, message, small, failed, tmp_path):
    folder = RunFolder(tmp_path / "run")
    training = ["train", *small, "--total-steps", "128", "--max-faults", "4", "--run-dir", folder.path, *options]
    printed = failed(mode, *training)
    assert re.match(message, printed.err.splitlines()[-1])
    assert f"train --resume {folder.path}" in printed.out
    assert folder.agent.is_file()
    steps = int(read_history(folder.history)["time/total_timesteps"][0])
    names = ["steps-000000000000.ckpt", f"steps-{steps:012d}.ckpt"]
    assert sorted(path.name for path in folder.checkpoints.iterdir()) == names[-checkpoints:]
    assert folder.events.exists() == (mode == "nan")
    if mode == "nan":
        lines = folder.events.read_text().splitlines()
        assert [line.split(" WARNING ")[1].split(":")[0] for line in lines] == [f"fault {n}" for n in (1, 2, 3, 4)]
    main(["train", "--resume", str(folder.path), "--quiet"])
    assert folder.is_complete()
    assert "the environments begin new episodes" in folder.events.read_text()
    assert read_history(folder.history)["time/iterations"].tolist() == [1, 2, 3, 4, 5]


def test_an_extended_run_that_was_interrupted_can_be_resumed(run, failed):
    failed("raise", "train", "--resume", "run", "--total-steps", "128", "--quiet")
    assert not run.evaluation.exists()
    main(["train", "--resume", "run", "--quiet"])
    assert int(tf_trpo.load(run.agent).env_steps) >= 128
    assert run.read_evaluation()["episodes"] == 2


def test_an_incomplete_evaluation_file_does_not_make_a_run_complete(run):
    whole = run.read_evaluation()
    run.evaluation.write_text(json.dumps(whole)[:-1])
    main(["train", "--resume", "run", "--quiet"])
    assert run.read_evaluation() == whole


def test_a_run_that_was_killed_during_its_first_checkpoint_begins_again(run, capsys):
    steps = read_history(run.history)["time/total_timesteps"].tolist()
    shutil.rmtree(run.checkpoints)
    run.checkpoints.mkdir()
    (run.checkpoints / ".partial-0123abcd.ckpt").write_text("half")
    run.history.write_text("")
    run.evaluation.unlink()
    main(["train", "--resume", "run", "--no-quiet"])
    assert "run has no checkpoint and no iteration yet: it begins again" in capsys.readouterr().err
    assert read_history(run.history)["time/total_timesteps"].tolist() == steps


def test_a_run_with_iterations_and_without_a_checkpoint_does_not_begin_again(run, refused):
    shutil.rmtree(run.checkpoints)
    before = contents(run)
    error = refused("train", "--resume", "run", "--total-steps", 512, "--quiet")
    assert "run has iterations and no checkpoint: train again" in error
    assert contents(run) == before


LINKS = ["config.partial", "history.csv.partial", "agent.keras", "events.log", "tensorboard", "checkpoints"]


@pytest.mark.parametrize("name", [*LINKS, "checkpoints/steps-000000000512.ckpt"])
def test_a_run_folder_with_a_link_is_refused_before_anything_is_written(name, tmp_path, refused):
    folder = RunFolder(tmp_path / "run")
    folder.create(Experiment().flat())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (folder.path / name).parent.mkdir(exist_ok=True)
    (folder.path / name).symlink_to(elsewhere)
    error = refused("train", "--resume", folder.path)
    assert f"{folder.path / name} is a symbolic link" in error
    assert not any(elsewhere.iterdir())


def test_a_failed_evaluation_is_one_line(run, failed):
    printed = failed("raise", "evaluate", "run", "--episodes", "50")
    assert printed.err == "error: environment 9 raised RuntimeError: out of memory, in row 4, in an evaluation\n"

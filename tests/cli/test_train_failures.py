"""Training that fails half-way: one line, status 3, and a run that goes on where it was."""

import json
import shutil

import gymnasium as gym
import numpy as np
import pytest

import tf_trpo
from tf_trpo import Experiment
from tf_trpo.cli import main
from tf_trpo.experiment import RunFolder


class Fragile(gym.Env):
    """Fails in its 100th step, in the way that `mode` says; sound once `mode` is None."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)
    mode = None

    def __init__(self):
        self.steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        failing = self.mode if self.steps >= 100 else None
        if failing == "raise":
            raise RuntimeError("out of memory")
        reward = float("nan") if failing == "nan" else 1.0
        return np.full(2, 0.1, np.float32), reward, self.steps % 5 == 0, False, {}


gym.register("FragileForTests-v0", Fragile)


def train(folder, mode, monkeypatch, *more):
    monkeypatch.setattr(Fragile, "mode", mode)
    small = "--num-steps 64 --no-jit-compile --hidden-sizes 4 --value-hidden-sizes 4 --value-epochs 1 --eval-episodes 2"
    command = ["train", "--env", "FragileForTests-v0", "--run-dir", str(folder), "--total-steps", "256", *small.split()]
    main([*command, *more])


# The state of an environment that failed is not kept; tests/training/test_faults.py looks for the warning.
@pytest.mark.filterwarnings("ignore:the unfinished episodes cannot be played again:UserWarning")
@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("raise", "error: environment 0 raised RuntimeError: out of memory, in row 54 of the rollout of iteration 1"),
        ("nan", "error: 4 faults in a row, the last one: environment 0 gave a reward that is not finite (nan), in row"),
    ],
)
def test_a_run_that_fails_is_saved_and_goes_on(mode, message, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    with pytest.raises(SystemExit) as exit_info:
        train(folder, mode, monkeypatch, "--max-faults", "4")
    assert exit_info.value.code == 3
    output = capsys.readouterr()
    assert output.err.splitlines()[-1].startswith(message)
    assert f"train --resume {folder}" in output.out
    assert "Traceback" not in output.err
    assert (folder / "agent.keras").is_file()
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == [
        "steps-000000000000.ckpt",
        "steps-000000000054.ckpt",
    ]
    assert (folder / "events.log").exists() == (mode == "nan")
    if mode == "nan":
        lines = (folder / "events.log").read_text().splitlines()
        assert [line.split(" WARNING ")[1].split(":")[0] for line in lines] == [f"fault {n}" for n in (1, 2, 3, 4)]
    monkeypatch.setattr(Fragile, "mode", None)
    main(["train", "--resume", str(folder)])
    assert (folder / "evaluation.json").is_file()
    rows = (folder / "history.csv").read_text().splitlines()
    assert len(rows) == 1 + 5


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A complete run."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        train(folder, None, patch, "--quiet")
    return folder


@pytest.fixture
def run(whole, tmp_path):
    """A copy of it."""
    return shutil.copytree(whole, tmp_path / "run")


@pytest.mark.filterwarnings("ignore:the unfinished episodes cannot be played again:UserWarning")
def test_an_extended_run_that_was_interrupted_goes_on(run, monkeypatch):
    monkeypatch.setattr(Fragile, "mode", "raise")
    with pytest.raises(SystemExit) as exit_info:
        main(["train", "--resume", str(run), "--total-steps", "512", "--quiet"])
    assert exit_info.value.code == 3
    monkeypatch.undo()
    assert not (run / "evaluation.json").exists()
    main(["train", "--resume", str(run), "--quiet"])
    assert int(tf_trpo.load(run / "agent.keras").env_steps) >= 512
    assert json.loads((run / "evaluation.json").read_text())["episodes"] == 2


@pytest.mark.filterwarnings("ignore:the unfinished episodes cannot be played again:UserWarning")
@pytest.mark.parametrize("text", [pytest.param("", marks=pytest.mark.slow), '{"mean_return": 3'])
def test_half_an_evaluation_does_not_make_a_run_complete(text, run):
    whole = (run / "evaluation.json").read_text()
    (run / "evaluation.json").write_text(text)
    main(["train", "--resume", str(run), "--quiet"])
    assert (run / "evaluation.json").read_text() == whole


def test_a_run_that_was_killed_in_the_write_of_its_first_checkpoint_begins_anew(run, capsys):
    whole = (run / "history.csv").read_text()
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / ".partial-0123abcd.ckpt").write_text("half")
    (run / "history.csv").write_text("")
    (run / "evaluation.json").unlink()
    main(["train", "--resume", str(run), "--no-quiet"])
    assert "run has no checkpoint and no iteration yet: it begins again" in capsys.readouterr().err
    assert len((run / "history.csv").read_text().splitlines()) == len(whole.splitlines())


def test_a_run_with_iterations_and_without_a_checkpoint_is_not_begun_anew(run, refused):
    shutil.rmtree(run / "checkpoints")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    error = refused("train", "--resume", run, "--total-steps", 512, "--quiet")
    assert "run has iterations and no checkpoint: train again" in error
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the unfinished episodes cannot be played again:UserWarning")
def test_a_run_without_regular_checkpoints_that_fails_goes_on(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    with pytest.raises(SystemExit):
        train(folder, "raise", monkeypatch, "--checkpoint-every", "0")
    assert f"train --resume {folder}" in capsys.readouterr().out
    monkeypatch.setattr(Fragile, "mode", None)
    main(["train", "--resume", str(folder), "--quiet"])
    assert len((folder / "history.csv").read_text().splitlines()) == 1 + 5


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


def test_an_evaluation_that_fails_says_so(run, monkeypatch, capsys):
    monkeypatch.setattr(Fragile, "mode", "raise")
    with pytest.raises(SystemExit) as exit_info:
        main(["evaluate", str(run), "--episodes", "50"])
    assert exit_info.value.code == 3
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: environment 0 raised RuntimeError: out of memory, in row 118")

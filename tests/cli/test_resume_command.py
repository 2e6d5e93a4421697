"""train --resume after kills and signals; runs of real processes are compared with runs of real processes."""

import contextlib
import functools
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

import tf_trpo
from tf_trpo.cli import main
from tf_trpo.experiment import RunFolder
from tf_trpo.figures.histories import read_history

SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"
STEPS = 2000


def start(folder, *arguments):
    """Start a training process with its output in a file."""
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    with open(folder / "output.txt", "a") as output:
        return subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)


def completed(folder, *arguments):
    """Train to the end in a separate process, as runs that are killed and resumed."""
    assert start(folder, *arguments).wait() == 0, (folder / "output.txt").read_text()


def wait_for_rows(run, count, process):
    """Wait until a training has written the given number of rows."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        assert process.poll() is None, "it ended by itself"
        path = run / "history.csv"
        if path.exists() and path.read_text().count("\n") > count:
            return
        time.sleep(0.01)
    raise AssertionError("nothing was trained")


def points(run, tag):
    """A scalar as TensorBoard shows it; NaN is not written."""
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"tensors": 0}).Reload()
    return [(event.step, event.tensor_proto.SerializeToString()) for event in events.Tensors(tag)]


def weights(run):
    return tf_trpo.load(run / "agent.keras").get_weights()


def assert_same_run(run, other):
    figures = ("time/total_timesteps", "rollout/ep_rew_mean", "train/kl_divergence_loss", "train/value_loss")
    histories = [read_history(folder / "history.csv") for folder in (run, other)]
    # Compared first, since it shows the iteration in which two runs begin to differ.
    for name in figures:
        np.testing.assert_array_equal(*(history[name] for history in histories), err_msg=name)
    for ours, theirs in zip(weights(run), weights(other), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (run / "evaluation.json").read_text() == (other / "evaluation.json").read_text()
    for name in figures[1:]:
        assert points(run, name) == points(other, name)
    # A run that was extended also has the evaluation at its first end.
    assert points(run, "final/mean_reward")[-1:] == points(other, "final/mean_reward")


@pytest.fixture(scope="module")
def training(small):
    """training(environment, steps, folder): arguments of a run in the folder `run` or in another."""
    options = [*small, "--num-envs", 2, "--value-epochs", 2, "--checkpoint-every", 60]

    def arguments(environment, steps, folder="run"):
        return [*options, "--env", environment, "--total-steps", steps, "--run-dir", folder]

    return arguments


@pytest.fixture(scope="module")
def whole(training, tmp_path_factory):
    """whole(environment, steps): a run that is not interrupted."""

    @functools.cache
    def make(environment, steps):
        folder = tmp_path_factory.mktemp("whole")
        completed(folder, *training(environment, steps))
        return folder / "run"

    return make


class Kills(NamedTuple):
    """Number of kills of living processes, and of those during the write of a checkpoint."""

    alive: int
    writing: int


def half_written(run, began):
    """Return whether there is an incomplete checkpoint that was begun after the given time."""
    for path in (run / "checkpoints").glob(".partial-*"):
        # The file may be renamed at this moment. Files that an earlier kill left behind are older.
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime > began:
                return True
    return False


def wait_to_kill(run, process, began, rng, moment):
    """Wait for a random moment while the process starts, trains, or writes a checkpoint."""
    history = run / "history.csv"
    while moment != "start" and process.poll() is None and not (history.exists() and history.stat().st_mtime > began):
        time.sleep(0.005)
    until = time.monotonic() + rng.uniform(0, {"start": 5, "train": 1.5, "write": 0.3}[moment])
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.003)
    if moment == "write":
        while process.poll() is None and not half_written(run, began):
            time.sleep(0.0005)
            if half_written(run, began):
                time.sleep(rng.uniform(0, 0.002))
                # Stop the process to look again, since the file may just have become complete.
                process.send_signal(signal.SIGSTOP)
                if not half_written(run, began):
                    process.send_signal(signal.SIGCONT)


def killed_again_and_again(folder, arguments, alive, writing):
    """Train with processes that are killed and resumed, until enough kills hit living and writing processes."""
    rng = random.Random(1)
    run, kills = folder / "run", Kills(0, 0)
    while (kills.alive < alive or kills.writing < writing) and not (run / "evaluation.json").exists():
        at_write = kills.writing * alive < writing * (kills.alive + 1)
        moment = "write" if at_write else rng.choices(["start", "train"], [0.1, 0.9])[0]
        process, began = start(folder, *arguments), time.time()
        wait_to_kill(run, process, began, rng, moment)
        hit = process.poll() is None
        process.kill()
        assert process.wait() in (-signal.SIGKILL, 0), (folder / "output.txt").read_text()
        # The incomplete file of the dead process proves it.
        kills = Kills(kills.alive + hit, kills.writing + (hit and half_written(run, began)))
        if (run / "config.json").exists():
            arguments = ["--resume", "run"]
    if not (run / "evaluation.json").exists():
        completed(folder, *arguments)
    return kills


@pytest.mark.slow
@pytest.mark.parametrize("environment", ["CartPole-v1", "Hopper-v5"])
def test_a_run_that_is_killed_twenty_five_times_ends_as_one_that_was_not(environment, training, whole, tmp_path):
    """Fifty kills of living processes in all, ten of them during the write of a checkpoint."""
    expected = whole(environment, 60_000)
    kills = killed_again_and_again(tmp_path, training(environment, 60_000), alive=25, writing=5)
    print(f"{environment}: {kills.alive} kills of a living process, {kills.writing} of them of a writing one")
    assert kills.alive >= 25
    assert kills.writing >= 5
    assert_same_run(tmp_path / "run", expected)


KILLED_IN_ITS_SECOND_CHECKPOINT = """
import itertools, os, signal, sys
from tf_trpo import files
from tf_trpo.cli import main

calls, synchronise = itertools.count(1), files._synchronise

def killed(path):
    if path.suffix == ".ckpt" and next(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    synchronise(path)

files._synchronise = killed
main(["train", *sys.argv[1:]])
"""
RESUMED_AND_WHOLE = """
import sys
from tf_trpo.cli import main

main(["train", "--resume", "run"])
main(["train", *sys.argv[1:]])
"""
"""One process for both, which is not the killed one: to start a process takes longer than to train."""


def test_a_run_that_is_killed_in_the_write_of_a_checkpoint_ends_as_one_that_was_not(training, tmp_path):
    arguments = map(str, training("CartPole-v1", STEPS))
    command = [sys.executable, "-c", KILLED_IN_ITS_SECOND_CHECKPOINT, *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    # The incomplete file of the dead process proves when it was killed.
    assert half_written(tmp_path / "run", 0)
    command = [sys.executable, "-c", RESUMED_AND_WHOLE, *map(str, training("CartPole-v1", STEPS, "whole"))]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def check_stopped(output):
    """Check the folder `run` and the output after a signal."""
    run = RunFolder("run")
    assert "Traceback" not in output
    assert "--resume run" in output
    stopped_at = int(read_history(run.history)["time/total_timesteps"][-1])
    assert f"stopped after {stopped_at} steps" in output
    assert (run.checkpoints / f"steps-{stopped_at:012d}.ckpt").is_file()
    assert int(tf_trpo.load(run.agent).env_steps) == stopped_at
    assert not run.evaluation.exists()


def test_a_second_signal_ends_the_run_at_once_with_its_own_status(small, tmp_path, monkeypatch, capsys):
    steps, step = itertools.count(1), CartPoleEnv.step

    def signalled(environment, action):
        if next(steps) in (40, 42):
            os.kill(os.getpid(), signal.SIGTERM)
        return step(environment, action)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(CartPoleEnv, "step", signalled)
    with pytest.raises(SystemExit) as exit_info:
        main(["train", *small, "--run-dir", "run"])
    assert exit_info.value.code == 128 + signal.SIGTERM


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_gets_a_signal_ends_and_its_run_can_be_resumed(number, training, whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    process = start(tmp_path, *training("CartPole-v1", STEPS))
    wait_for_rows(tmp_path / "run", 3, process)
    process.send_signal(number)
    assert process.wait(timeout=100) == 128 + number
    check_stopped((tmp_path / "output.txt").read_text())
    completed(tmp_path, "--resume", "run")
    assert_same_run(tmp_path / "run", whole("CartPole-v1", STEPS))


def test_a_signal_ends_the_run_between_two_iterations_and_it_can_be_resumed(
    small, finished, tmp_path, monkeypatch, capsys
):
    steps, step = itertools.count(1), CartPoleEnv.step

    def signalled(environment, action):
        if next(steps) == 40:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(environment, action)

    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(CartPoleEnv, "step", signalled)
        with pytest.raises(SystemExit) as exit_info:
            main(["train", *small, "--run-dir", "run"])
    assert exit_info.value.code == 128 + signal.SIGTERM
    check_stopped(capsys.readouterr().out)
    assert len(read_history(Path("run/history.csv"))["time/iterations"]) == 2
    main(["train", "--resume", "run", "--quiet"])
    assert_same_run(Path("run"), finished.folder.path)


@pytest.mark.slow
def test_an_extended_run_equals_one_that_was_that_long_from_the_start(whole, tmp_path):
    run = shutil.copytree(whole("CartPole-v1", STEPS), tmp_path / "run")
    completed(tmp_path, "--resume", "run", "--total-steps", 2 * STEPS)
    other = whole("CartPole-v1", 2 * STEPS)
    assert_same_run(run, other)
    # Steps that followed a schedule stay valid.
    assert tf_trpo.Experiment.from_run(run) == tf_trpo.Experiment.from_run(other).replace(schedule_steps=STEPS)


def test_a_complete_run_is_not_changed_unless_it_is_extended(run, refused):
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    assert "run is complete; a larger total_steps continues it" in refused("train", "--resume", "run")
    assert "run is complete" in refused("train", "--resume", "run", "--quiet")
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("is_complete", [True, False])
def test_a_run_cannot_get_fewer_steps_than_it_has_taken(is_complete, run, refused):
    if not is_complete:
        run.evaluation.unlink()
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    taken = int(read_history(run.history)["time/total_timesteps"][-1])
    message = f"run has taken {taken} steps: total_steps cannot be reduced to 32"
    assert message in refused("train", "--resume", "run", "--total-steps", "32")
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--resume", "run", "--gamma", "0.5"], "run keeps its gamma; only total_steps, allow_different_workers, "),
        (["--resume", "run", "--schedule-steps", "7"], "a resumed run keeps its schedule_steps"),
        (["--resume", "run", "--algorithm", "kl-penalty"], "a resumed run keeps its algorithm, constraint, "),
        (["--resume", "run", "--run-dir", "other"], "a resumed run keeps its settings and its folder"),
        (["--resume", "run", "--preset", "none"], "a resumed run keeps its settings and its folder"),
        (["--resume", "nowhere"], "nowhere is no run folder (it has no config.json)"),
        (["--resume"], "argument --resume: expected one argument"),
        (["--resume="], ". is no run folder (it has no config.json)"),
    ],
)
def test_what_cannot_be_resumed_is_refused_in_one_line(run, refused, arguments, words):
    assert words in refused("train", *arguments)


def test_a_full_disk_is_one_line_and_the_run_can_be_resumed(run, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    before = sorted(run.checkpoints.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr("tf_trpo.training.checkpoint.replaced_at_once", full)
        with pytest.raises(SystemExit) as exit_info:
            main(["train", "--resume", "run", "--total-steps", "128"])
    assert exit_info.value.code == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: checkpoint run/checkpoints/steps-")
    assert error.endswith("cannot be written: No space left on device; older checkpoints are as they were")
    assert sorted(run.checkpoints.iterdir()) == before


def test_what_steps_do_not_depend_on_may_change(run):
    run.evaluation.unlink()
    changed = {"checkpoint_every": 7, "histogram_every": 0, "max_faults": 3, "eval_every": 20, "eval_episodes": 3}
    changed |= {"env_timeout": 900.0, "chunk_size": 16, "fisher_vector_product": "double-backprop"}
    changed |= {"max_episode_steps": 900, "eval_envs": 2}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in changed.items()]
    main(["train", "--resume", str(run.path), "--quiet", *options])
    assert {name: tf_trpo.Experiment.from_run(run.path).flat()[name] for name in changed} == changed
    assert run.read_evaluation()["episodes"] == 3

"""`train --workers`: the files are those of one process, and no process is left, however the command ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import tf_trpo
from tf_trpo.extras import not_installed
from tf_trpo.figures.histories import read_history

SETTINGS = ["--env", "CartPole-v1", "--preset", "none", "--num-envs", "4", "--shards", "2", "--num-steps", "64"]
SETTINGS += ["--total-steps", "3000", "--hidden-sizes", "8", "--eval-episodes", "2", "--checkpoint-every", "500"]


def command(*arguments):
    return [sys.executable, "-m", "tf_trpo", "train", "--quiet", *map(str, arguments)]


def ended(process):
    """Wait for a process and its child processes, and return its exit status and standard error."""
    children = psutil.Process(process.pid).children(recursive=True)
    _, error = process.communicate(timeout=240)
    # After a kill, two of Ray's own processes wait a minute for an answer from a third one.
    _, left = psutil.wait_procs(children, timeout=180)
    assert not left, [child.cmdline() for child in left]
    return process.returncode, error


def begun(run, *arguments):
    """Start a training in its own session, as in a terminal, and wait for its second checkpoint."""
    process = subprocess.Popen(
        command("--run-dir", run, *SETTINGS, *arguments), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 240
    while len(list((run / "checkpoints").glob("*.ckpt"))) < 2:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def files(run):
    """Return the weights, figures and evaluation in a run's files, without times."""
    history = read_history(run / "history.csv")
    agent = tf_trpo.load(run / "agent.keras")
    # As Python's numbers: an array's text has few digits, and leaves out the middle of long ones.
    figures = {name: column.tolist() for name, column in history.items() if not name.startswith("time/")}
    return [weight.tobytes() for weight in agent.get_weights()], figures, (run / "evaluation.json").read_text()


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    run = tmp_path_factory.mktemp("one") / "run"
    subprocess.run(command("--run-dir", run, *SETTINGS), check=True, timeout=240)
    return str(files(run))


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_however_a_training_ends_no_process_is_left_and_it_can_be_resumed(how, tmp_path, expected):
    run = tmp_path / "run"
    process = begun(run, "--workers", 2)
    # A terminal sends Ctrl-C to the whole process group.
    (os.killpg if how == signal.SIGINT else os.kill)(process.pid, how)
    status, error = ended(process)
    assert status == {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGKILL: -9}[how], error
    assert how == signal.SIGKILL or "finishing the iteration" in error
    subprocess.run(command("--resume", run, "--workers", 1), check=True, timeout=240)
    assert str(files(run)) == expected


@pytest.mark.slow
def test_a_signal_that_also_ends_ray_loses_no_more_than_the_iteration(tmp_path):
    run = tmp_path / "run"
    process = begun(run, "--workers", 2)
    os.killpg(process.pid, signal.SIGTERM)
    begin = time.monotonic()
    status, error = ended(process)
    # Before Ray ends, the iteration may be over.
    assert status in (3, 143), error
    assert status == 143 or "the Ray that this process started has ended" in error
    assert time.monotonic() - begin < 55
    assert tf_trpo.load(run / "agent.keras")
    subprocess.run(command("--resume", run), check=True, timeout=240)


@pytest.mark.slow
def test_an_update_in_parts_gives_the_same_files_and_keeps_their_number(tmp_path, refused):
    here, there = tmp_path / "here", tmp_path / "there"
    for run, workers in ((here, 0), (there, 2)):
        arguments = ["--run-dir", run, *SETTINGS, "--update-parts", 3, "--workers", workers]
        subprocess.run(command(*arguments), check=True, timeout=240)
    assert str(files(there)) == str(files(here))
    error = refused("train", "--resume", here, "--update-parts", 4, "--total-steps", 4000)
    assert "a resumed run keeps its update_parts" in error
    error = refused("train", "--run-dir", tmp_path / "ppo", *SETTINGS, "--update-parts", 3, "--algorithm", "ppo")
    assert "update_parts must be None with ClippedSurrogate: its step needs minibatches" in error
    assert not (tmp_path / "ppo").exists()


REFUSED = {
    "--workers -1": "error: workers must be in [0, 10000], got -1",
    "--workers two": "error: workers must be a whole number, got 'two'",
    "--workers 2": "error: workers must be at most the number of shards, 1 for 1 environments",
    "--workers 2 --num-envs 16 --backend async": "error: backend must be sync with workers",
    "--ray-address auto": "error: ray_address has no effect without workers",
    "--num-envs 16 --workers 1 --ray-address ray://host:1": "error: ray_address must be auto or HOST:PORT",
    "--num-envs 16 --shards 3": "error: shards must be a divisor of 16 environments, got 3",
}


@pytest.mark.parametrize(("options", "message"), REFUSED.items(), ids=REFUSED)
def test_impossible_settings_are_refused_in_one_line(options, message, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert refused("train", "--preset", "none", *options.split()).startswith(message)
    assert not list(Path(tmp_path).iterdir())


def test_without_ray_the_error_is_one_line(refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)
    error = refused("train", "--preset", "none", "--num-envs", "16", "--workers", "2")
    assert error == f"error: {not_installed('ray')}"


def test_without_a_cluster_the_error_is_one_line(refused, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    error = refused("train", *small, "--num-envs", "16", "--workers", "2", "--ray-address", "127.0.0.1:1")
    assert error.startswith("error: no Ray cluster answers at 127.0.0.1:1")

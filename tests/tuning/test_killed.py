"""Real processes of a search that are killed: the same command continues as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from tf_trpo.tuning import Choice, Range, processes
from tf_trpo.tuning.processes import sole_owner
from tf_trpo.tuning.space import plain_space
from tf_trpo.tuning.study import Study

SPACE = {"max_kl": Range(0.001, 0.1, log=True), "gamma": Choice((0.9, 0.99))}
SETTINGS = {
    "env": "CartPole-v1",
    "num_steps": 32,
    "hidden_sizes": [4],
    "value_hidden_sizes": [4],
    "value_epochs": 1,
    "jit_compile": False,
    "eval_episodes": 2,
    "threads": 1,
    "total_steps": 2048,
}
TIMEOUT = 300


@pytest.fixture
def start(tmp_path):
    """start(jobs, trials, output): the command's process, in a group of its own."""
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(plain_space(SPACE)))
    (tmp_path / "base.yaml").write_text(yaml.safe_dump({**SETTINGS, "total_steps": 1}))
    started = []

    def run(jobs, trials, output="search"):
        options = {"preset": "base.yaml", "space": "space.yaml", "steps": 2048, "output": output, "check-seeds": 1}
        command = [sys.executable, "-m", "tf_trpo", "tune", "--quiet", "--jobs", str(jobs), "--trials", str(trials)]
        command += [word for name, value in options.items() for word in (f"--{name}", str(value))]
        # Import this checkout, whose code may differ from the installed one.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        how = {"cwd": tmp_path, "env": environment, "text": True, "start_new_session": True}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how)
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for(condition):
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def records(folder):
    return Study(folder, SPACE, 0, prune=True).records()


@pytest.mark.slow
def test_a_search_that_is_killed_continues_to_the_result_of_one_that_is_not(start, tmp_path):
    folder = tmp_path / "search"
    process = start(1, 4)
    wait_for(lambda: any(folder.glob("trials/0002-*")))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert records(folder)[2].state == "running"

    again = start(1, 4)
    output, errors = again.communicate(timeout=TIMEOUT)
    assert again.returncode == 0, errors
    found = records(folder)
    assert [record.state for record in found[:4]] == ["complete", "complete", "killed", "complete"]
    assert found[3].settings == found[2].settings
    assert "1 killed" in output
    assert "train --preset search/best.yaml" in output

    whole = start(1, 4, "whole")
    _, errors = whole.communicate(timeout=TIMEOUT)
    assert whole.returncode == 0, errors
    one, other = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("search", "whole"))
    assert one.pop("trials") == {**other.pop("trials"), "killed": 1}
    # The killed trial used a number.
    assert one["best"].pop("trial") >= other["best"].pop("trial")
    assert one == other


@pytest.mark.slow
def test_worker_processes_end_with_their_search_and_their_trials_are_repeated(start, tmp_path):
    folder = tmp_path / "search"
    process = start(2, 6)
    wait_for(lambda: len(list(folder.glob("trials/*"))) >= 3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    lost = sum(record.state == "running" for record in records(folder))
    assert lost > 0
    # The processes notice the end by their pipes, and the next search waits for them.
    again = start(2, 6)
    wait_for(lambda: any(record.state == "killed" for record in records(folder)))
    # A running search locks its folder.
    with pytest.raises(ValueError, match="another process is searching in"), sole_owner(folder):
        pass
    _, errors = again.communicate(timeout=TIMEOUT)
    assert again.returncode == 0, errors
    states = [record.state for record in records(folder)]
    assert states.count("killed") == lost
    assert len(states) == 6 + lost
    assert not {"running", "waiting", "failed"} & set(states)


@pytest.mark.slow
def test_a_killed_worker_process_is_restarted(start, tmp_path):
    folder = tmp_path / "search"
    process = start(2, 6)
    wait_for(lambda: len(list(folder.glob("trials/*"))) >= 3)
    listed = subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    assert len(listed) == 2
    os.kill(int(listed[0]), signal.SIGKILL)
    output, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, errors
    assert "1 killed" in output
    assert sum(record.state in ("complete", "pruned") for record in records(folder)) == 6


def test_ctrl_c_within_a_finaliser_is_not_lost(tmp_path, monkeypatch):
    class Finalised:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGINT)

    ticks = []

    def on_tick():
        ticks.append(Finalised())
        ticks[-1] = None
        assert len(ticks) < 4

    # It ends when its input does.
    monkeypatch.setattr(processes, "_start", lambda *_: subprocess.Popen(["cat"], stdin=subprocess.PIPE))
    with pytest.raises(KeyboardInterrupt):
        processes.run_workers(tmp_path, 1, "trials", on_tick=on_tick, repair=lambda _: 0)
    assert len(ticks) == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.slow
@pytest.mark.parametrize(("number", "jobs"), [(signal.SIGINT, 1), (signal.SIGTERM, 1), (signal.SIGINT, 2)])
def test_a_signal_ends_the_search_with_its_status_and_how_to_continue(number, jobs, start, tmp_path):
    folder = tmp_path / "search"
    process = start(jobs, 8)
    wait_for(lambda: len(list(folder.glob("trials/*"))) >= 3)
    # As in a terminal, to all processes of the command.
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 128 + number
    assert "the same command continues the search in search" in errors
    assert "Traceback" not in errors
    with sole_owner(folder):
        states = {record.state for record in records(folder)}
    assert "running" in states
    assert "failed" not in states

"""`time-to-result`: real trainings, scripts that behave like one, and a fake Python for the peer."""

import dataclasses
import json
import math
import sys
import time
from pathlib import Path

import pytest

from benchmarks import time_to_result
from benchmarks.report import markdown
from benchmarks.tables import CurvePoint, RunResult, TimeResult, read_table, write_table
from benchmarks.time_to_result import TimeToResult, compared, first_passages
from tf_trpo.cli.train import read_experiment

PEER = f"""#!{sys.executable}
import json, pathlib, sys, time
job = json.loads(sys.argv[2])
pathlib.Path("asked").write_text(json.dumps(job))
time.sleep(0.5)
print(json.dumps({{"seconds": 0.25}}))
"""
WRITE = """
import pathlib, sys, time
path, last = pathlib.Path(sys.argv[1]), sys.argv[2]
path.write_text("time/total_timesteps,eval/mean_reward\\n100,\\n200,5.0\\n300,\\n" + last)
"""
TINY = """
hidden_sizes: [4]
value_hidden_sizes: [4]
value_epochs: 1
num_steps: 256
jit_compile: false
"""
"""A preset of a training that starts within seconds."""


@pytest.fixture(autouse=True)
def targets(tmp_path, monkeypatch):
    """The peer's returns in CartPole: 20 and 30, a mean of 25, which a few updates reach."""
    monkeypatch.chdir(tmp_path)
    folder = Path("results") / "peers"
    folder.mkdir(parents=True)
    rows = [
        RunResult("CartPole-v1", name, seed, steps, value, 0.0, 0.0, 0.0, 20, 1.0, "")
        for name, seed, steps, value in [
            ("sb3-contrib", 0, 1_000_000, 20.0),
            ("sb3-contrib", 1, 1_000_000, 30.0),
            ("sb3-contrib", 2, 2_000, 400.0),
            ("another", 0, 1_000_000, 500.0),
        ]
    ]
    write_table(folder / "results.csv", rows)
    curve = [(0, 250_000, 20.0), (1, 250_000, 22.0), (0, 500_000, 20.0), (1, 500_000, 31.0), (1, 750_000, 99.0)]
    points = [CurvePoint("CartPole-v1", "sb3-contrib", seed, steps, value, 0.0, 0.0) for seed, steps, value in curve]
    write_table(folder / "curves.csv", points)


@pytest.fixture
def command(monkeypatch):
    Path("tiny.yaml").write_text(TINY)
    monkeypatch.setattr(time_to_result, "PRESETS", {"default": ("tiny.yaml",)})
    python = Path("peer")
    python.write_text(PEER)
    python.chmod(0o755)
    return TimeToResult(
        against_sb3=python.resolve(),
        seeds=1,
        first_seed=3,
        total_steps=10_000_000,
        eval_every=2_000,
        sb3_steps=10_000,
        results_dir=Path("results"),
    )


def test_a_training_is_timed_to_the_evaluation_that_reaches_the_peers_return_and_no_longer(command):
    ((_, rows),) = command.tables()
    ours, peer = read_table(Path("runs/times.csv"), TimeResult)
    assert (ours.env, ours.name, ours.seed, ours.target) == ("CartPole-v1", "default", 3, 25.0)
    # An untrained agent falls after about 10 to 25 steps.
    assert 2_000 <= ours.steps <= 100_000
    assert 1.0 < ours.seconds < 120.0
    config = json.loads(Path("runs/time/CartPole-v1/default/3/config.json").read_text())
    assert f"over {config['settings']['eval_episodes']} episodes" in TimeToResult.__doc__
    asked = json.loads(Path("asked").read_text())
    assert (asked["steps"], asked["num_envs"], asked["episodes"]) == (10_000, 2, 0)
    assert asked["arguments"]["n_steps"] == 1024
    # The start counts once, and the 0.25 seconds of 10,240 steps as often as they are in a million.
    assert (peer.name, peer.steps) == ("sb3-contrib", 1_000_000)
    assert 0.25 * 1_000_000 / 10_240 + 0.25 < peer.seconds < 30.0
    assert rows[0]["default, times as fast"] == pytest.approx(peer.seconds / ours.seconds, rel=1e-3)
    # The mean of its curves is 25.5 after half of the training.
    assert rows[0]["default, of its first passage"] == rows[0]["default, times as fast"] / 2
    Path("asked").unlink()
    assert command.tables()[0][1] == rows
    assert not Path("asked").exists()


def test_rows_of_other_options_or_another_target_are_refused(command):
    times = [
        TimeResult("CartPole-v1", "default", 3, 4_000, 25.0, 9.0, "total_steps=10000000 eval_every=2000"),
        TimeResult("CartPole-v1", "sb3-contrib", 0, 1_000_000, 25.0, 20.0, "sb3_steps=10000"),
    ]
    Path("runs").mkdir()
    write_table(Path("runs/times.csv"), times)
    for changed, words in (
        ({"eval_every": 3_000}, "CartPole-v1, default, seed 3 was measured with total_steps=10000000 eval_every=2000"),
        ({"sb3_steps": 9}, "CartPole-v1, sb3-contrib, seed 0 was measured with sb3_steps=10000, not sb3_steps=9"),
    ):
        with pytest.raises(ValueError, match=words):
            dataclasses.replace(command, **changed).tables()
    peers = Path("results/peers/results.csv")
    write_table(peers, [row._replace(deterministic=40.0) for row in read_table(peers, RunResult)])
    with pytest.raises(ValueError, match="the return to reach in CartPole-v1 was 25: remove the table"):
        command.tables()


def script(tmp_path, last, then):
    return [sys.executable, "-c", WRITE + then, str(tmp_path / "history.csv"), last]


def test_a_run_is_stopped_when_it_reaches_the_return_and_one_that_ends_before_never_does(tmp_path):
    history = tmp_path / "history.csv"
    start = time.perf_counter()
    later = "400,7.5\n500,\n600,9.0\n"
    steps, target, seconds = time_to_result._reached(script(tmp_path, later, "time.sleep(60)"), history, 6.0)
    assert (steps, target) == (400, 6.0)
    assert seconds <= time.perf_counter() - start < 30.0
    history.unlink()
    assert time_to_result._reached(script(tmp_path, "400,5.9\n", ""), history, 6.0) == (400, 6.0, math.inf)


def test_a_run_that_fails_is_an_error_with_its_last_line(tmp_path):
    command = script(tmp_path, "400,5.9\n", "sys.exit('error: no such preset')")
    with pytest.raises(RuntimeError, match="ended with status 1: error: no such preset"):
        time_to_result._reached(command, tmp_path / "history.csv", 6.0)


def test_an_environment_without_results_of_the_peer_is_refused():
    with pytest.raises(ValueError, match="sb3-contrib has no results in Nowhere-v0"):
        TimeToResult(only=("CartPole-v1", "Nowhere-v0"), results_dir=Path("results")).tables()


@pytest.mark.parametrize(
    ("name", "presets"), [("fast", ["--preset", "mujoco", "--preset", "fast"]), ("default", ["--preset", "none"])]
)
def test_our_settings_are_presets_of_the_command_train(name, presets, monkeypatch):
    asked = []
    monkeypatch.setattr(time_to_result, "_reached", lambda command, *_: asked.append(command) or (1, 25.0, 2.0))
    TimeToResult(seeds=1, results_dir=Path("results")).tables()
    (command,) = (each for each in asked if each[4 : 4 + len(presets)] == presets)
    assert command[1:4] == ["-m", "tf_trpo", "train"]
    experiment, _ = read_experiment(presets[1::2], {"env": "CartPole-v1"})
    assert (experiment.rollouts.backend == "envpool") == (name == "fast")


def test_the_document_has_the_table_of_the_measured_times():
    root = Path(time_to_result.__file__).parents[1]
    rows = read_table(root / "docs" / "results" / "times.csv", TimeResult)
    passages = first_passages(root / "docs" / "results", {row.env: row.target for row in rows})
    assert "\n".join(markdown(compared(rows, passages))) in (root / "docs" / "performance.md").read_text(
        encoding="utf-8"
    )


def row(env, name, seconds):
    return [TimeResult(env, name, seed, 1, 10.0, each, "") for seed, each in enumerate(seconds)]


def test_the_median_seed_counts_and_settings_are_not_faster_if_a_seed_never_reaches_the_return():
    rows = [*row("A", "sb3-contrib", [100]), *row("A", "fast", [4, 10, 5]), *row("A", "default", [20, 90, 50])]
    rows += [*row("B", "sb3-contrib", [300]), *row("B", "fast", [10]), *row("B", "default", [math.inf, 10, 50])]
    passages = {"A": 0.5, "B": 1.0}
    a, b, mean = compared(rows, passages)
    assert (a["fast, times as fast"], a["default, times as fast"]) == (20.0, 2.0)
    assert (b["fast, times as fast"], b["default, times as fast"]) == (30.0, 0.0)
    assert (a["fast, of its first passage"], b["fast, of its first passage"]) == (10.0, 30.0)
    assert (a["default"], b["default"]) == ("20, 90, 50", "not reached, 10, 50")
    assert (mean["fast, times as fast"], mean["default, times as fast"]) == (25.0, 1.0)
    *_, mean = compared(rows[:-3], passages)
    factors = {"fast, times as fast": 25.0, "fast, of its first passage": 20.0}
    assert mean == {"environment": "interquartile mean", **factors}

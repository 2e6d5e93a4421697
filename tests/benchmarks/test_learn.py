"""The suite runner with real runs: their tables, and that no run is trained twice."""

import fcntl
import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import learn as learn_module
from benchmarks.documents import FOLDERS
from benchmarks.learn import Learn
from benchmarks.runs import read_suite, suite_run, suites
from benchmarks.tables import CurvePoint, RunResult, read_table
from tf_trpo.experiment import experiment

ROOT = Path(__file__).parents[2]
PARTLY_REPORTED = {
    "anywhere": {"CarRacing-v3", "highway_env:highway-fast-v0"},
}
"""Suites, and their environments without results."""
FEWER_SEEDS = {"anywhere": 2}
"""Suites that have results of their first seeds only, and the number of these."""
TINY = "{preset: none, total_steps: 48, num_envs: 2, num_steps: 12, hidden_sizes: [4], value_hidden_sizes: [4]"
TINY += ", value_epochs: 1, jit_compile: false}"
TABLE = Path("docs") / "results" / "tiny" / "results.csv"
RUNS = Path("runs") / "learn" / "tiny" / "CartPole-v1"


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def learn(text, **options):
    Path("tiny.yaml").write_text(text)
    Learn(suite="tiny.yaml", episodes=2, **options).run()


def trained_here(runs, jobs, episodes):
    for run in runs:
        learn_module._train(run, episodes)
        yield run, None


def test_runs_are_trained_once_and_end_in_the_tables(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(learn_module, "_train_all", trained_here)
    monkeypatch.setattr(experiment, "use_threads", lambda threads: None)  # TensorFlow is running already.
    suite = f"CartPole-v1: {{small: {TINY}, other: {TINY}}}"
    learn(suite, seeds=1, first_seed=7, only=("small",))
    (run,) = read_table(TABLE, RunResult)
    assert (run.env, run.name, run.seed, run.steps, run.episodes) == ("CartPole-v1", "small", 7, 48, 2)
    evaluations = json.loads((RUNS / "small" / "7" / "final_evaluations.json").read_text())
    for mode in ("deterministic", "stochastic"):
        assert getattr(run, mode) == pytest.approx(evaluations[mode]["mean_return"])
    config = json.loads((RUNS / "small" / "7" / "config.json").read_text())
    assert (config["settings"]["seed"], config["commit"] or "") == (7, run.commit)
    assert run.seconds > 0
    curves = read_table(TABLE.with_name("curves.csv"), CurvePoint)
    assert {(point.seed, 0 < point.kl <= 0.01) for point in curves} == {(7, True)}

    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")}
    learn(suite, seeds=1, first_seed=7, only=("CartPole-v1/small",))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")} == files
    assert "| CartPole-v1 | small | 48 | 1 |" in capsys.readouterr().out
    # A row is kept in the table even if its run is gone.
    (entry,) = read_suite("tiny.yaml", ("small",))
    shutil.move(RUNS / "small" / "7", RUNS / "small" / "8")
    finished_run(entry, 8)
    learn(suite, seeds=1, first_seed=8, only=("small",))
    assert [row.seed for row in read_table(TABLE, RunResult)] == [7, 8]


def test_the_final_evaluation_has_the_settings_of_the_run_and_other_episodes(monkeypatch):
    asked = []

    class Agent:
        @staticmethod
        def evaluate(env, episodes, **how):
            asked.append((env, episodes, how["stochastic"], how["seed"], how["max_episode_steps"], how["info_keys"]))
            return {}

    Path("tiny.yaml").write_text("CartPole-v1: {small: {max_episode_steps: 30, info_keys: [speed]}}")
    (entry,) = read_suite("tiny.yaml")
    monkeypatch.setattr(learn_module.tf_trpo, "load", lambda path: Agent)
    monkeypatch.setattr(experiment.Experiment, "train", trained_until(None))
    learn_module._train(suite_run(entry, 3, Path("runs"), "tiny.yaml"), 2)
    assert asked == [("CartPole-v1", 2, sampled, 1_000_003, 30, ("speed",)) for sampled in (False, True)]


def trained_until(signal_number):
    """A training that only makes the folder, as if it was stopped by a signal."""

    def train(self, path):
        path.mkdir(parents=True)
        return SimpleNamespace(stopped_by=signal_number)

    return train


def test_a_run_that_a_signal_stops_is_no_result(entry, monkeypatch):
    run = suite_run(entry, 0, Path("runs/learn"), "tiny.yaml")
    monkeypatch.setattr(learn_module.tf_trpo, "load", lambda path: pytest.fail("it was evaluated"))
    monkeypatch.setattr(experiment.Experiment, "train", trained_until(signal.SIGINT))
    with pytest.raises(RuntimeError, match="SIGINT stopped it; the next call trains it again"):
        learn_module._train(run, 2)
    finished_run(entry, 0)
    assert run.is_finished
    run.folder.evaluation.unlink()  # which only a whole training writes
    assert not run.is_finished


def finish_or_fail(run, episodes):
    if run.seed == 1:
        raise ValueError(f"{episodes} episodes of {multiprocessing.parent_process().pid} broke")
    finished_run(run.entry, run.seed)


def test_each_run_has_its_own_process_and_a_failure_does_not_stop_the_others(entry, monkeypatch):
    monkeypatch.setattr(learn_module, "_train", finish_or_fail)
    with pytest.raises(RuntimeError, match=f"small/1 failed: 2 episodes of {os.getpid()} broke"):
        Learn(suite="tiny.yaml", seeds=2, episodes=2).run()
    assert [row.seed for row in read_table(TABLE, RunResult)] == [0]


def finished_run(entry, seed, **changes):
    """The run folder of a finished run."""
    run = suite_run(entry, seed, Path("runs/learn"), "tiny.yaml")
    run.path.mkdir(parents=True, exist_ok=True)
    settings = run.experiment.flat() | {"run_dir": "elsewhere"} | changes
    (run.path / "config.json").write_text(json.dumps({"settings": settings, "commit": "abc"}))
    (run.path / "history.csv").write_text(
        "time/total_timesteps,time/time_elapsed,rollout/ep_rew_mean,train/kl_divergence_loss\n"
        "50000,5,,0.01\n100000,9.5,30,0.005\n"
    )
    evaluation = {"mean_return": 10.0 + seed, "std_return": 1.0, "mean_length": 9.0, "episodes": 2}
    run.folder.evaluation.write_text(json.dumps(evaluation))
    run.finished.write_text(json.dumps(dict.fromkeys(("deterministic", "stochastic"), evaluation)))


@pytest.fixture
def entry():
    Path("tiny.yaml").write_text("CartPole-v1: {small: {}}")
    (entry,) = read_suite("tiny.yaml")
    return entry


def test_a_finished_run_with_other_settings_or_episodes_is_refused(entry):
    for changes, words in (({"gamma": 0.5}, r"other settings \(gamma\)"), ({}, "was not evaluated over 20 episodes")):
        finished_run(entry, 0, **changes)
        with pytest.raises(ValueError, match=words):
            Learn(suite="tiny.yaml", seeds=1).run()


def test_a_second_call_at_the_same_time_is_refused_by_the_lock(entry):
    RUNS.parent.mkdir(parents=True)
    with open(RUNS.parent / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another process trains runs into"):
            Learn(suite="tiny.yaml").run()


def test_a_wrong_setting_is_found_before_the_first_training(monkeypatch):
    monkeypatch.setattr(learn_module, "_train", None)  # cannot even be sent to a process
    for lines, words in (("good: {}, bad: {vanilla_learning_rate: 1}", "vanilla_learning"), ("..: {}", "outside of")):
        with pytest.raises(Exception, match=words):
            learn(f"CartPole-v1: {{{lines}}}")


def test_the_row_of_a_run_is_written_as_soon_as_the_run_ends(entry, monkeypatch):
    def trained(runs, jobs, episodes):
        assert (jobs, episodes) == (3, 2)
        first, second = runs
        finished_run(entry, first.seed)
        yield first, None
        (row,) = read_table(TABLE, RunResult)
        assert (row.seed, row.seconds, row.commit) == (first.seed, 9.5, "abc")
        assert len(read_table(TABLE.with_name("curves.csv"), CurvePoint)) == 2
        yield second, ValueError("it broke")

    monkeypatch.setattr(learn_module, "_train_all", trained)
    with pytest.raises(RuntimeError, match="small/6 failed: it broke"):
        learn("CartPole-v1: {small: {seed: 5, seeds: 2}}", jobs=3)  # The seeds are those of the entry.


@pytest.mark.parametrize("suite", suites())
def test_every_entry_of_a_suite_can_be_trained_and_its_seeds_are_those_of_its_table(suite):
    entries = {(entry.env, entry.name): entry for entry in read_suite(suite)}
    for entry in entries.values():
        settings = suite_run(entry, entry.first_seed, Path("runs"), suite).experiment.flat()
        assert settings["total_steps"] >= (20_000 if suite == "anywhere" else 100_000)
    tables = [path for folder in FOLDERS if (path := ROOT / folder / suite / "results.csv").exists()]
    entries = {key: entry for key, entry in entries.items() if key[0] not in PARTLY_REPORTED.get(suite, set())}
    reported = {}
    for row in read_table(*tables, RunResult):
        reported.setdefault((row.env, row.name), set()).add(row.seed)
    assert reported == {key: set(entry.seeds(count=FEWER_SEEDS.get(suite))) for key, entry in entries.items()}

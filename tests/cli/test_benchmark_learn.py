"""The suite runner: real runs, tables of them, no run twice, and refusals in one line."""

import fcntl
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from tf_trpo.cli import main
from tf_trpo.cli.algorithms import check_algorithm, make_policy_optimizer
from tf_trpo.cli.benchmark.learn import summary
from tf_trpo.cli.benchmark.suites import bundled_suites, read_suite
from tf_trpo.cli.presets import parse_settings
from tf_trpo.results import CurvePoint, RunResult, read_table

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmark.py"
TINY = "{preset: none, total_steps: 96, num_steps: 32, hidden_sizes: [4], value_hidden_sizes: [4], jit_compile: false}"


@pytest.fixture
def learn_refused(tmp_path, monkeypatch, refused):
    """learn_refused(text of a suite, *options): the line on standard error."""
    monkeypatch.chdir(tmp_path)

    def run(text, *options, **progress):
        (tmp_path / "tiny.yaml").write_text(text)
        return refused("benchmark", "learn", "--suite", "tiny.yaml", "--episodes", "2", *options, **progress)

    return run


def test_runs_are_trained_once_and_end_in_the_tables(tmp_path, monkeypatch, capsys):
    suite = f"CartPole-v1:\n  small: {TINY}\n  other: {TINY}\n"
    (tmp_path / "tiny.yaml").write_text(suite)
    options = ["--suite", "tiny.yaml", "--episodes", "2", "--seeds", "2", "--first-seed", "7", "--only", "small"]
    said = subprocess.run(
        [sys.executable, SCRIPT, "learn", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert said.stderr.count("\n") == 2
    results = read_table(tmp_path / "docs" / "results" / "tiny" / "results.csv", RunResult)
    assert [(run.env, run.name, run.seed, run.steps, run.episodes) for run in results] == [
        ("CartPole-v1", "small", seed, 96, 2) for seed in (7, 8)
    ]
    for run in results:
        folder = tmp_path / "runs" / "learn" / "tiny" / "CartPole-v1" / "small" / str(run.seed)
        evaluations = json.loads((folder / "final_evaluations.json").read_text())
        assert run.deterministic == pytest.approx(evaluations["deterministic"]["mean_return"])
        assert run.stochastic == pytest.approx(evaluations["stochastic"]["mean_return"])
        assert json.loads((folder / "config.json").read_text())["settings"]["seed"] == run.seed
    curves = read_table(tmp_path / "docs" / "results" / "tiny" / "curves.csv", CurvePoint)
    assert {point.seed for point in curves} == {7, 8}
    assert all(0 < point.kl <= 0.01 for point in curves)
    assert "| CartPole-v1 | small | 2 |" in said.stdout

    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")}
    monkeypatch.chdir(tmp_path)
    main(["benchmark", "learn", *options[:-1], "CartPole-v1/small"])
    assert capsys.readouterr() == (said.stdout, "")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")} == files


def test_a_run_of_other_settings_is_not_taken_for_done(learn_refused, tmp_path):
    folder = tmp_path / "runs" / "learn" / "tiny" / "CartPole-v1" / "small" / "0"
    folder.mkdir(parents=True)
    settings = parse_settings([f"--run-dir={folder.relative_to(tmp_path)}", "--threads=1"], prog="train").flat()
    (folder / "config.json").write_text(json.dumps({"settings": settings | {"gamma": 0.5}}))
    for name in ("final_evaluations.json", "agent.keras"):
        (folder / name).write_text("{}")
    error = learn_refused("CartPole-v1: {small: {}}", "--seeds", 1)
    assert "was trained with other settings (gamma)" in error
    assert "--runs-dir" in error


def test_a_run_with_other_episodes_of_evaluation_is_not_taken_for_done(learn_refused, tmp_path):
    folder = tmp_path / "runs" / "learn" / "tiny" / "CartPole-v1" / "small" / "0"
    folder.mkdir(parents=True)
    settings = parse_settings([f"--run-dir={folder.relative_to(tmp_path)}", "--threads=1"], prog="train").flat()
    (folder / "config.json").write_text(json.dumps({"settings": settings}))
    (folder / "agent.keras").write_text("")
    (folder / "final_evaluations.json").write_text('{"deterministic": {"episodes": 20}}')
    assert "was evaluated over 20 episodes, not 2" in learn_refused("CartPole-v1: {small: {}}", "--seeds", 1)


def test_a_second_call_at_the_same_time_is_refused(learn_refused, tmp_path):
    folder = tmp_path / "runs" / "learn" / "tiny"
    folder.mkdir(parents=True)
    with open(folder / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "another call is training the runs" in learn_refused("CartPole-v1: {small: {}}", "--seeds", 1)


def test_a_setting_of_another_algorithm_is_found_before_anything_is_trained(learn_refused, tmp_path):
    suite = "CartPole-v1: {good: {}, bad: {vanilla_learning_rate: 0.5}}"
    assert "vanilla_learning_rate is a setting of vanilla-policy-gradient" in learn_refused(suite)
    assert not (tmp_path / "runs").exists()


def test_a_run_that_fails_is_named_with_its_reason(learn_refused, tmp_path):
    suite = "CartPole-v1: {bad: {backend: sync, max_kl: -1}}"
    error = learn_refused(suite, "--seeds", 1, progress_lines=1)
    assert "CartPole-v1/bad/0 failed: error: max_kl must be positive" in error
    assert not (tmp_path / "docs").exists()


@pytest.mark.parametrize(
    ("suite", "options", "words"),
    [
        ("CartPole-v1: {a: {}}", ["--suite", "nowhere.yaml"], "suite nowhere.yaml: neither a YAML file nor one of"),
        ("a: [", [], "suite tiny.yaml: neither a YAML file nor one of"),
        ("", [], "must hold, for each environment, names"),
        ("CartPole-v1: 3", [], "must hold, for each environment, names"),
        ("CartPole-v1: {a: 3}", [], "must hold, for each environment, names"),
        ("CartPole-v1: {a: {}}", ["--only", "b"], "suite tiny.yaml has nothing of b"),
        ("CartPole-v1: {a: {}}", ["--seeds", "0"], "seeds must be at least 1"),
        ("CartPole-v1: {a: {}}", ["--first-seed", "-1"], "first_seed must be at least 0"),
        ("CartPole-v1: {a: {}}", ["--jobs", "0"], "jobs must be at least 1"),
    ],
)
def test_bad_input_is_refused_in_one_line(learn_refused, tmp_path, suite, options, words):
    assert words in learn_refused(suite, *options)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


@pytest.mark.parametrize("suite", bundled_suites())
def test_every_line_of_a_bundled_suite_can_be_trained(suite):
    entries = read_suite(suite)
    assert len(entries) > 1
    for entry in entries:
        settings = parse_settings([*entry.options, "--env", entry.env], prog="train")
        check_algorithm(settings)
        make_policy_optimizer(settings)
        assert settings.run.total_steps >= 100_000


def test_the_summary_is_over_seeds():
    results = [
        RunResult("E", "a", seed, 10, value, 0.0, 2 * value, 0.0, 20)
        for seed, value in enumerate([1.0, 2.0, 6.0, 100.0])
    ]
    (row, other) = summary([*results, RunResult("E", "b", 0, 10, math.pi, 0.0, 0.0, 0.0, 20)])
    assert row["seeds"] == 4
    assert row["deterministic: mean ± std"].startswith("27.2 ±")
    assert row["deterministic: IQM [95%]"].startswith("4.0 [")
    assert row["stochastic: IQM [95%]"].startswith("8.0 [")
    assert other["deterministic: IQM [95%]"] == "3.1 [3.1, 3.1]"

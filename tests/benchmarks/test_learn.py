"""The suite runner: real runs, tables of them, no run twice, and refusals in one line."""

import fcntl
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tf_trpo.cli.benchmark import learn as learn_module
from tf_trpo.cli.benchmark.suites import bundled_suites, read_suite
from tf_trpo.results import CurvePoint, RunResult, read_table

from tf_trpo.cli import main
from tf_trpo.cli.algorithms import check_algorithm, make_policy_optimizer
from tf_trpo.cli.presets import parse_settings

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmark.py"
RESULTS = Path(__file__).parents[2] / "docs" / "results"
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
        config = json.loads((folder / "config.json").read_text())
        assert config["settings"]["seed"] == run.seed
        assert run.commit == (config["commit"] or "")
        assert run.seconds > 0
    curves = read_table(tmp_path / "docs" / "results" / "tiny" / "curves.csv", CurvePoint)
    assert {point.seed for point in curves} == {7, 8}
    assert all(0 < point.kl <= 0.01 for point in curves)
    assert "| CartPole-v1 | small | 96 | 2 |" in said.stdout

    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")}
    monkeypatch.chdir(tmp_path)
    main(["benchmark", "learn", *options[:-1], "CartPole-v1/small"])
    assert capsys.readouterr() == (said.stdout, "")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")} == files

    shutil.rmtree(tmp_path / "runs" / "learn" / "tiny" / "CartPole-v1" / "small" / "7")
    main(["benchmark", "learn", *options[:4], "--seeds", "1", "--first-seed", "8", "--only", "small"])
    assert "| CartPole-v1 | small | 96 | 1 |" in capsys.readouterr().out
    assert read_table(tmp_path / "docs" / "results" / "tiny" / "results.csv", RunResult) == results


def finished_run(root, name, seed):
    """A run folder as it is when all is done, of a run with the default settings."""
    folder = Path("runs") / "learn" / "tiny" / "CartPole-v1" / name / str(seed)
    (root / folder).mkdir(parents=True)
    settings = parse_settings([f"--run-dir={folder}", "--threads=1", f"--seed={seed}"], prog="train").flat()
    (root / folder / "config.json").write_text(json.dumps({"settings": settings, "commit": "abc"}))
    (root / folder / "agent.keras").write_text("")
    (root / folder / "history.csv").write_text(
        "time/total_timesteps,time/time_elapsed,rollout/ep_rew_mean,train/kl_divergence_loss\n"
        "50000,5,20,0.01\n100000,9.5,30,0.005\n"
    )
    evaluation = {"mean_return": 10.0 + seed, "std_return": 1.0, "mean_length": 9.0, "episodes": 2}
    evaluations = dict.fromkeys(("deterministic", "stochastic"), evaluation)
    (root / folder / "final_evaluations.json").write_text(json.dumps(evaluations))


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


def test_a_table_that_cannot_be_written_is_found_before_the_next_run_is_trained(learn_refused, tmp_path, monkeypatch):
    """Runs of hours must not be lost to what could have been known at the start."""
    finished_run(tmp_path, "small", 0)
    (tmp_path / "docs").write_text("")
    monkeypatch.setattr(learn_module, "_train", None)  # cannot even be handed to a process
    assert "docs/results/tiny cannot be written" in learn_refused("CartPole-v1: {small: {}}", "--seeds", 2)


def test_a_row_is_in_the_tables_as_soon_as_its_run_has_ended(learn_refused, tmp_path, monkeypatch):
    def trained(runs, jobs):
        assert jobs == 3
        first, second = runs
        finished_run(tmp_path, "small", first.seed)
        yield first, None
        table = read_table(tmp_path / "docs" / "results" / "tiny" / "results.csv", RunResult)
        assert [row.seed for row in table] == [first.seed]
        assert (table[0].seconds, table[0].commit) == (9.5, "abc")
        yield second, "it broke"

    monkeypatch.setattr(learn_module, "_train_all", trained)
    error = learn_refused("CartPole-v1: {small: {}}", "--seeds", 2, "--jobs", 3)
    assert error.endswith("runs/learn/tiny/CartPole-v1/small/1 failed: it broke")


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
        ("CartPole-v1: {a: {seed: -1}}", [], "CartPole-v1/a must have a seed from 0 to 2147483647, got -1"),
        ("CartPole-v1: {a: {seeds: 0}}", [], "CartPole-v1/a must have at least 1 of seeds, got 0"),
        ("CartPole-v1: {a: {seed: 2147483647}}", ["--seeds", "2"], "CartPole-v1/a: the last seed must be at most"),
        ("CartPole-v1: {a: {seed: first}}", [], "CartPole-v1/a must have a seed from 0 to 2147483647, got 'first'"),
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


def test_an_entry_says_which_seeds_it_is_trained_with_unless_the_command_does(learn_refused, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        learn_module, "_train_all", lambda runs, jobs: (asked.append(run.arguments) or (run, "no") for run in runs)
    )
    suite = "CartPole-v1: {a: {seed: 5, seeds: 3}, b: {}}"
    learn_refused(suite)
    learn_refused(suite, "--seeds", 2)
    learn_refused(suite, "--seeds", 1, "--first-seed", 0)
    seeds = [parse_settings(arguments, prog="train").run.seed for arguments in asked]
    assert seeds == [5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 0, 1, 0, 0]


@pytest.mark.parametrize("suite", bundled_suites())
def test_the_seeds_of_a_bundled_suite_are_those_of_its_table(suite):
    reported = {}
    for row in read_table(RESULTS / suite / "results.csv", RunResult):
        reported.setdefault((row.env, row.name), set()).add(row.seed)
    entries = {(entry.env, entry.name): entry for entry in read_suite(suite)}
    assert reported.keys() == entries.keys()
    for key, seeds in reported.items():
        assert seeds == set(entries[key].seeds())

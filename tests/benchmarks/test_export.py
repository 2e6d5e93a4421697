"""The export of a suite's median seed: the model, its card, and errors before anything is written."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import tf_trpo
from benchmarks.export import Export, median_of
from benchmarks.runs import read_suite, suite_run
from benchmarks.tables import RunResult, write_table
from tf_trpo.serving import read_metadata
from tf_trpo.serving.local_policy import LocalPolicy

COMMIT = "0123456789" * 4
SUITE = "CartPole-v1: {small: {total_steps: 40, num_steps: 20, hidden_sizes: [4], value_hidden_sizes: [4]}}"
DETERMINISTIC = {0: 30.0, 1: 10.0, 2: 40.0, 3: 20.0}
STOCHASTIC = {0: 1.0, 1: 2.0, 2: 3.0, 3: 4.0}


def result(seed, deterministic, stochastic):
    return RunResult("E", "a", seed, 10, deterministic, 0.0, stochastic, 0.0, 20, 1.0, COMMIT)


@pytest.mark.parametrize("count", range(1, 8))
def test_half_of_the_other_seeds_are_on_each_side_of_the_median(count):
    random = np.random.default_rng(count)
    results = [result(seed, random.normal(), random.normal() - 10) for seed in range(count)]
    swapped = [row._replace(deterministic=row.stochastic, stochastic=row.deterministic) for row in results]
    for mode, rows in (("deterministic", results), ("stochastic", swapped)):
        median, by = median_of(rows)
        assert by == mode
        below = sum(getattr(row, mode) < getattr(median, mode) for row in rows)
        above = sum(getattr(row, mode) > getattr(median, mode) for row in rows)
        assert above - below == (1 - count % 2)
        assert below + above == count - 1
    equal = [result(seed, 500.0, 500.0) for seed in (3, 1, 2)]
    assert median_of(equal) == (equal[2], "deterministic")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run."""
    folder = tmp_path_factory.mktemp("run") / "run"
    changes = {"total_steps": 48, "num_envs": 2, "num_steps": 12, "value_epochs": 1, "hidden_sizes": [4], "quiet": True}
    changes |= {"value_hidden_sizes": [4], "jit_compile": False, "eval_episodes": 1, "seed": 6, "ema_momentum": None}
    tf_trpo.Experiment("CartPole-v1").replace(**changes).train(folder)
    return folder


@pytest.fixture
def suite(trained, tmp_path, monkeypatch):
    """A folder with the suite, four finished runs and their table; and the runs by seed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(SUITE)
    (entry,) = read_suite("tiny.yaml")
    runs = {seed: suite_run(entry, seed, tmp_path / "runs" / "learn", "tiny.yaml") for seed in DETERMINISTIC}
    for seed, run in runs.items():
        shutil.copytree(trained, run.path)
        config = run.folder.read_config()
        config["settings"]["seed"] = seed
        (run.path / "config.json").write_text(json.dumps(config | {"commit": COMMIT}))
        shared = {"std_return": 0.5, "mean_length": 9.0, "episodes": 20}
        modes = {"deterministic": DETERMINISTIC, "stochastic": STOCHASTIC}
        found = {mode: {"mean_return": returns[seed], **shared} for mode, returns in modes.items()}
        run.finished.write_text(json.dumps(found))
    table = tmp_path / "docs" / "results" / "tiny" / "results.csv"
    table.parent.mkdir(parents=True)
    write_table(table, [run.result() for run in runs.values()])
    return runs


def test_the_median_seed_is_exported_with_the_returns_of_all_seeds(suite, tmp_path):
    agent = tf_trpo.load(suite[3].path / "agent.keras")
    for variable in agent.policy.trainable_variables:
        variable.assign(np.random.default_rng(0).normal(size=variable.shape))
    agent.save(suite[3].path / "agent.keras")
    other = tf_trpo.load(suite[0].path / "agent.keras")
    shutil.rmtree(suite[0].path)  # A run in the table counts even if its folder is gone.
    Export("tiny.yaml", output=Path("models")).run()
    card = (tmp_path / "models" / "CartPole-v1" / "README.md").read_text(encoding="utf-8")
    metadata = read_metadata(tmp_path / "models" / "CartPole-v1" / "1")
    assert "Seed 3 is the median of 4 seeds of suite tiny, by the return with most likely actions:" in card
    seeds = re.findall(r"^\| (\d) \| (\S+) \| (\S+) \|$", card, re.M)
    assert seeds == [(str(seed), f"{DETERMINISTIC[seed]:.1f}", f"{STOCHASTIC[seed]:.1f}") for seed in DETERMINISTIC]
    assert metadata.evaluation == suite[3].evaluations()["deterministic"]
    observations = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    actions = LocalPolicy(tmp_path / "models" / "CartPole-v1").act(observations)
    np.testing.assert_array_equal(actions, agent.predict(observations))
    assert np.any(actions != other.predict(observations))


def test_a_median_run_that_differs_from_the_table_or_cannot_be_repeated_is_refused(suite):
    def refused(match, **options):
        with pytest.raises(ValueError, match=match):
            Export("tiny.yaml", output=Path("models"), **options).run()
        assert not Path("models").exists()

    refused("elsewhere/tiny/CartPole-v1/small/3 is no run folder", runs_dir=Path("runs/elsewhere"))
    config, evaluations = suite[3].folder.read_config(), suite[3].evaluations()
    for commit in (None, f"{COMMIT}-dirty"):
        (suite[3].path / "config.json").write_text(json.dumps(config | {"commit": commit}))
        refused(f"small/3 cannot be repeated: .*{commit or 'unknown'}")
    (suite[3].path / "config.json").write_text(json.dumps(config))
    evaluations["stochastic"]["mean_return"] += 1
    suite[3].finished.write_text(json.dumps(evaluations))
    refused("small/3 is another run than the one in the table")
    Path("tiny.yaml").write_text("CartPole-v1: {small: {}, other: {}}")
    refused("several names for an environment; select one by --only")

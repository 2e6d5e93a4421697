"""`peers` with a program in the place of another Python: what it is asked, and the tables of its answers."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.peers import NAMES, Peers
from benchmarks.tables import CurvePoint, RunResult, read_table

PROGRAM = f"""#!{sys.executable}
import json, sys
job = json.loads(sys.argv[2])
with open("asked", "a") as asked:
    print(json.dumps(job), file=asked)
if job["env"] == "Broken-v0":
    sys.exit("it broke")
result = dict(deterministic=job["seed"], deterministic_std=0.5, stochastic=2.0, stochastic_std=0.25, seconds=3.0)
print("noise")
print(json.dumps(dict(result=result, returns=[1.0, 2.0, 4.0], lengths=[1000, 1000, 1000])))
"""


@pytest.fixture(autouse=True)
def program(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "python"
    path.write_text(PROGRAM)
    path.chmod(0o755)
    return path


def peers(program, suite, **options):
    Path("tiny.yaml").write_text(suite)
    Peers(program, "tiny.yaml", results_dir=Path("peers"), episodes=2, **options).run()


def asked():
    """The jobs, in the order of algorithms and seeds."""
    jobs = map(json.loads, Path("asked").read_text().splitlines())
    return sorted(jobs, key=lambda job: (job["algorithm"], job["seed"]))


def test_both_peers_are_trained_once_for_each_seed_and_end_in_the_tables(program):
    suite = "Some-v1: {default: {total_steps: 4096, env_kwargs: {g: 1}}}"
    peers(program, suite, seeds=2, first_seed=5)
    job = {"env": "Some-v1", "env_kwargs": {"g": 1}, "steps": 4096, "episodes": 2}
    assert asked() == [
        {"algorithm": algorithm, **job, "seed": seed} for algorithm in ("PPO", "TRPO") for seed in (5, 6)
    ]
    rows = read_table(Path("peers") / "results.csv", RunResult)
    assert [(row.name, row.seed, row.deterministic) for row in rows] == [
        (NAMES[algorithm], seed, float(seed)) for algorithm in ("PPO", "TRPO") for seed in (5, 6)
    ]
    points = read_table(Path("peers") / "curves.csv", CurvePoint)
    # Two episodes have ended at the first update, and all three at the second.
    assert [(point.steps, point.mean_return) for point in points[:2]] == [
        (2048, 1.5),
        (4096, pytest.approx(7 / 3, rel=1e-5)),
    ]
    peers(program, suite, seeds=3, first_seed=5)
    assert [job["seed"] for job in asked()] == [5, 6, 7, 5, 6, 7]


def test_a_run_that_fails_is_named_and_stops_no_other(program):
    suite = "Broken-v0: {default: {total_steps: 9}}\nSome-v1: {default: {total_steps: 4096}}"
    with pytest.raises(RuntimeError, match=r"Broken-v0, sb3-contrib TRPO, defaults, seed 0 failed: it broke"):
        peers(program, suite, seeds=1)
    assert {row.env for row in read_table(Path("peers") / "results.csv", RunResult)} == {"Some-v1"}

"""`peers` with a fake Python: the jobs that it gets, and the table of its answers."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.peers import NAMES, Peers
from benchmarks.tables import RunResult, read_table

TABLE = Path("results") / "tiny" / "peers.csv"
PROGRAM = f"""#!{sys.executable}
import json, sys
job = json.loads(sys.argv[2])
with open("asked", "a") as asked:
    print(json.dumps(job), file=asked)
if job["env"] == "Broken-v0":
    sys.exit("it broke")
if job["env"] == "Silent-v0":
    sys.exit()
result = dict(deterministic=job["seed"], deterministic_std=0.5, stochastic=2.0, stochastic_std=0.25)
result |= dict(seconds=3.0, versions="sb3-contrib 1.2")
print("noise")
print(json.dumps(result))
"""


@pytest.fixture(autouse=True)
def program(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "python"
    path.write_text(PROGRAM)
    path.chmod(0o755)
    return path


def peers(program, suite, episodes=2, **options):
    Path("tiny.yaml").write_text(suite)
    Peers(program, "tiny.yaml", results_dir=Path("results"), episodes=episodes, **options).run()


def asked():
    """The jobs that were received, in the order of algorithms and seeds."""
    jobs = map(json.loads, Path("asked").read_text().splitlines())
    return sorted(jobs, key=lambda job: (job["algorithm"], job["seed"]))


def test_both_peers_are_trained_once_per_seed_and_written_to_the_table(program):
    wrappers = '["gymnasium.wrappers:FlattenObservation", "tf_trpo.environments:WithoutText"]'
    suite = f"Some-v1: {{default: {{total_steps: 4096, env_kwargs: {{g: 1}}, wrapper: {wrappers}}}}}"
    peers(program, suite, seeds=2, first_seed=5)
    job = {"env": "Some-v1", "env_kwargs": {"g": 1}, "steps": 4096, "episodes": 2}
    job["wrappers"] = ["gymnasium.wrappers:FlattenObservation"]
    assert asked() == [
        {"algorithm": algorithm, **job, "seed": seed} for algorithm in ("PPO", "TRPO") for seed in (5, 6)
    ]
    rows = read_table(TABLE, RunResult)
    assert [(row.name, row.seed, row.deterministic, row.commit) for row in rows] == [
        (NAMES[algorithm], seed, float(seed), "sb3-contrib 1.2") for algorithm in ("PPO", "TRPO") for seed in (5, 6)
    ]
    peers(program, suite, seeds=3, first_seed=5)
    assert [job["seed"] for job in asked()] == [5, 6, 7, 5, 6, 7]
    had = r"Some-v1, sb3-contrib TRPO, defaults, seed 5 had 4096 steps and evaluations of 2 episodes: remove its row"
    for changed, options in ((suite, {"episodes": 3}), (suite.replace("4096", "8192"), {})):
        with pytest.raises(ValueError, match=had):
            peers(program, changed, seeds=4, first_seed=5, **options)
    assert len(asked()) == 6


def test_the_task_is_that_of_the_first_entry_with_its_preset(program):
    Path("base.yaml").write_text("{total_steps: 300, env_kwargs: {g: 2}}")
    peers(program, "Some-v1: {first: {preset: base.yaml}, other: {total_steps: 9}}", seeds=1, algorithms=("PPO",))
    (job,) = asked()
    assert (job["steps"], job["env_kwargs"], job["wrappers"]) == (300, {"g": 2}, [])


def test_the_settings_of_rl_zoo_are_those_of_trpo(program):
    suite = "HalfCheetah-v5: {default: {total_steps: 4096}}"
    peers(program, suite, seeds=1, algorithms=("TRPO",), settings="zoo")
    (job,) = asked()
    assert (job["num_envs"], job["arguments"]["n_steps"], job["arguments"]["target_kl"]) == (2, 1024, 0.04)
    assert [row.name for row in read_table(TABLE, RunResult)] == ["sb3-contrib TRPO, RL Zoo's settings"]
    with pytest.raises(ValueError, match="give --algorithms TRPO"):
        peers(program, suite, settings="zoo")


def test_a_failed_run_is_named_and_does_not_stop_the_others(program):
    suite = "\n".join(f"{env}: {{default: {{total_steps: 9}}}}" for env in ("Broken-v0", "Silent-v0", "Some-v1"))
    with pytest.raises(RuntimeError) as failed:
        peers(program, suite, seeds=1)
    assert "Broken-v0, sb3-contrib TRPO, defaults, seed 0 failed: it broke" in str(failed.value)
    assert "Silent-v0, Stable-Baselines3 PPO, defaults, seed 0 failed: the program gave no answer" in str(failed.value)
    assert {row.env for row in read_table(TABLE, RunResult)} == {"Some-v1"}
    with pytest.raises(RuntimeError, match=r"no answer .*no-such-python"):
        peers(Path("no-such-python"), "Other-v1: {default: {total_steps: 10}}", seeds=1)


@pytest.mark.parametrize("changed", ['wrapper: ["my:Scaled"]', "action_masks: info"])
def test_an_entry_whose_task_peers_cannot_have_is_refused(program, changed):
    with pytest.raises(ValueError, match=r"Some-v1/default has .*, which other programs would not have"):
        peers(program, f"Some-v1: {{default: {{total_steps: 9, {changed}}}}}")

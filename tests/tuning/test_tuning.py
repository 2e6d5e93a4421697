"""A search: settings, trials, the final check, files, and continuation."""

import dataclasses
import io
import json
import random

import numpy as np
import pytest
from rich.console import Console

from tf_trpo import Experiment
from tf_trpo.environments import EnvironmentFailedError
from tf_trpo.experiment.generators import seed_generators
from tf_trpo.tuning import Choice, Range, Tuning, TuningFailedError
from tf_trpo.tuning.files import preset_text, read_tuning
from tf_trpo.tuning.progress import TrialTable
from tf_trpo.tuning.seeds import check_seeds, search_seeds
from tf_trpo.tuning.study import TrialRecord
from tf_trpo.tuning.training import StoppedBySignalError

SPACE = {"max_kl": Range(0.001, 0.1, log=True), "gamma": Choice((0.9, 0.99))}


def far_from_the_best(experiment):
    """A return that is 0 at the best step size, 0.05, and does not depend on the seed."""
    return -abs(np.log(experiment.algorithm.max_kl / 0.05))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 0}, "trials must be in"),
        ({"trials": 2.5}, "trials must be a whole number"),
        ({"jobs": 0}, "jobs must be in"),
        ({"check_seeds": -1}, "check_seeds must be in"),
        ({"prune": 1}, "prune must be true or false"),
        ({"space": {"gamma": Choice((0.9, 2.0))}}, "gamma must be in"),
        ({"fixed_settings": ["gama"]}, "fixed_settings has unknown settings: gama; there is gamma"),
        ({"experiment": "CartPole-v1"}, "experiment must be Experiment"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Tuning(**{"experiment": Experiment(), **changes})


def test_settings_survive_their_file(tiny):
    for tuning in (Tuning(tiny), Tuning(tiny.replace(algorithm="kl-penalty", env_kwargs={"a": [1]}), trials=3)):
        assert Tuning.from_json(json.loads(json.dumps(tuning.to_json()))) == tuning
    for tuning in (Tuning(tiny, space=SPACE), Tuning(tiny, fixed_settings=("gamma", "max_kl"))):
        assert Tuning.from_json(tuning.to_json()) == tuning


def test_better_settings_are_found_checked_on_fresh_seeds_and_written(tiny, returning, tmp_path):
    def value(experiment):
        return far_from_the_best(experiment) + 1e-3 * np.sin(experiment.run.seed)

    trained = returning(value)
    result = Tuning(tiny, trials=20, space=SPACE, seeds=2, check_seeds=4).run(tmp_path / "search")
    assert abs(np.log(result.settings["max_kl"] / 0.05)) < abs(np.log(0.01 / 0.05))
    assert result.comparison.is_better
    assert "they are better." in result.verdict
    assert sum(result.trials.values()) == 20
    # Seeds: two of the search for each trial, then pairs of fresh seeds.
    seeds = [experiment.run.seed for experiment in trained]
    assert set(seeds[:-8]) == set(search_seeds(0, 2))
    assert seeds[-8:] == [seed for seed in check_seeds(0, 4) for _ in range(2)]
    assert not set(seeds[:-8]) & set(seeds[-8:])
    assert [experiment.algorithm.max_kl == 0.01 for experiment in trained[-8:]] == [True, False] * 4
    # The first trial has the default settings.
    assert trained[0] == tiny.replace(seed=search_seeds(0, 1)[0])
    assert result.experiment == tiny.replace(**result.settings)
    written = json.loads((tmp_path / "search" / "result.json").read_text())
    assert written["verdict"] == result.verdict
    assert written["comparison"] == json.loads(json.dumps(dataclasses.asdict(result.comparison)))
    for name in ("trials.png", "importances.png"):
        assert (tmp_path / "search" / name).read_bytes()[1:4] == b"PNG"
    assert read_tuning(tmp_path / "search").experiment == tiny


def test_the_best_settings_are_a_preset(tiny, returning, tmp_path):
    returning(far_from_the_best)
    tuned = Tuning(tiny, trials=6, space=SPACE, check_seeds=0).run(tmp_path / "search")
    again = Experiment.from_file(tuned.preset)
    of_runs = {"quiet": True, "eval_episodes": 2, "jit_compile": False}
    assert again.replace(**of_runs) == tuned.experiment
    assert "It was not checked on fresh seeds" in tuned.verdict
    assert tuned.verdict in " ".join(tuned.preset.read_text().split())


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("Pendulum-v1", {}),
        ("Humanoid-v5", {"radius": "adaptive", "max_kl": 0.01}),
        ("Hopper-v5", {"algorithm": "kl-penalty"}),
        (
            "LunarLanderContinuous-v3",
            {"env_kwargs": {"gravity": -9.0}, "wrapper": ["gymnasium.wrappers:FlattenObservation"]},
        ),
    ],
)
def test_a_preset_determines_the_whole_experiment(name, changes, tmp_path):
    experiment = Experiment.from_preset(name, **changes)
    (tmp_path / "best.yaml").write_text(preset_text(experiment, "two\nlines"))
    of_runs = {"eval_every": experiment.run.eval_every}
    assert Experiment.from_file(tmp_path / "best.yaml", **of_runs) == experiment


def test_equal_settings_are_not_called_better(tiny, returning, tmp_path):
    # In the search, the best of many trials is lucky; on fresh seeds all settings are equal.
    lucky = set(search_seeds(0, 1))
    returning(lambda experiment: experiment.algorithm.max_kl if experiment.run.seed in lucky else 7.0)
    result = Tuning(tiny, trials=8, space=SPACE, check_seeds=3).run(tmp_path / "search")
    assert result.value > 0.01
    assert result.comparison.best == result.comparison.default == (7.0, 7.0, 7.0)
    assert "they are NOT shown to be better. Keep the default settings" in result.verdict
    assert "NOT shown to be better" in result.preset.read_text()


def test_the_default_settings_may_be_the_best(tiny, returning, tmp_path):
    trained = returning(lambda experiment: -abs(experiment.algorithm.max_kl - 0.01))
    result = Tuning(tiny, trials=5, space=SPACE).run(tmp_path / "search")
    assert result.comparison is None
    assert "found nothing better than the default settings" in result.verdict
    assert len(trained) == 5


def test_trials_are_pruned_at_bad_evaluations(tiny, returning, tmp_path):
    trained = returning(lambda experiment: [far_from_the_best(experiment)] * 6)
    result = Tuning(tiny, trials=12, space=SPACE, check_seeds=0).run(tmp_path / "search")
    assert result.trials["pruned"] > 0
    assert len(trained) == 12
    returning(lambda experiment: [far_from_the_best(experiment)] * 3)
    result = Tuning(tiny, trials=12, space=SPACE, check_seeds=0, prune=False).run(tmp_path / "other")
    assert result.trials == {"complete": 12}


def test_no_trial_is_pruned_at_its_first_evaluation_wherever_that_is(tiny, monkeypatch, tmp_path):
    stops = []

    def train_once(experiment, folder, evaluations, report):
        value = -len(stops)
        # Rollouts longer than the distance between evaluations skip position 0.
        stops.append([report(position, value) for position in (1, 2)])
        return None if any(stops[-1]) else value

    monkeypatch.setattr("tf_trpo.tuning.work.train_once", train_once)
    found = Tuning(tiny, trials=8, space=SPACE, check_seeds=0).run(tmp_path / "search")
    assert stops == [[False, False]] * 5 + [[False, True]] * 3
    assert found.trials == {"complete": 5, "pruned": 3}


def test_a_trial_is_pruned_only_on_its_first_seed(tiny, monkeypatch, tmp_path):
    stops = []

    def train_once(experiment, folder, evaluations, report):
        # Trials get worse and worse, and all are worse on the second seed; the first two evaluations are good.
        place = len(stops) % 2
        value = 100.0 * (1 - place) - len(stops)
        stops.append([report(0, value), report(1, value), report(2, value - 50.0)])
        return value

    monkeypatch.setattr("tf_trpo.tuning.work.train_once", train_once)
    Tuning(tiny, trials=8, seeds=2, space=SPACE, check_seeds=0).run(tmp_path / "search")
    assert [any(stop) for stop in stops[:10]] == [False] * 10
    assert [any(stop) for stop in stops[10:]] == [True, False] * 3


def test_a_search_leaves_the_generators_of_the_process_as_they_were(tiny, returning, tmp_path, monkeypatch):
    returning(far_from_the_best)
    monkeypatch.setattr(Experiment, "make_agent", lambda self: seed_generators(self.run.seed))
    states = [random.getstate(), np.random.get_state()[1].tolist()]  # noqa: NPY002
    Tuning(tiny, trials=1, space=SPACE, check_seeds=0).run(tmp_path / "search")
    assert [random.getstate(), np.random.get_state()[1].tolist()] == states  # noqa: NPY002


def test_a_failed_trial_is_recorded_and_the_search_continues(tiny, returning, tmp_path):
    def fails_with_long_steps(experiment):
        if experiment.algorithm.max_kl > 0.02:
            raise EnvironmentFailedError("environment 0 fell apart")
        return experiment.algorithm.max_kl

    returning(fails_with_long_steps)
    result = Tuning(tiny, trials=12, space=SPACE, check_seeds=0).run(tmp_path / "search")
    assert result.trials["failed"] > 0
    assert result.settings["max_kl"] <= 0.02


def test_a_search_whose_trials_all_fail_ends(tiny, returning, tmp_path):
    def fail(experiment):
        raise EnvironmentFailedError("environment 0 fell apart")

    trained = returning(fail)
    message = "all trials failed so far; the last one: EnvironmentFailedError: environment 0 fell apart"
    with pytest.raises(TuningFailedError, match=message):
        Tuning(tiny, trials=12, space=SPACE).run(tmp_path / "search")
    assert len(trained) == 3


def test_a_failed_check_loses_no_search_and_is_repeated(tiny, returning, tmp_path):
    def fails_in_the_check(experiment):
        if experiment.run.seed == check_seeds(0, 2)[1] and experiment.algorithm.max_kl != 0.01:
            raise EnvironmentFailedError("environment 0\x1b fell apart")
        return far_from_the_best(experiment)

    tuning = Tuning(tiny, trials=5, space=SPACE, check_seeds=2)
    returning(fails_in_the_check)
    failed = tuning.run(tmp_path / "search")
    assert failed.comparison is None
    words = f"with seed {check_seeds(0, 2)[1]}, failed: EnvironmentFailedError: environment 0\x1b fell apart"
    assert words in failed.check_failure
    assert failed.check_failure in failed.verdict
    assert "Keep the default settings" in failed.verdict
    assert json.loads((tmp_path / "search" / "result.json").read_text())["check_failure"] == failed.check_failure
    assert Experiment.from_file(failed.preset).algorithm.max_kl == failed.settings["max_kl"]
    trained = returning(far_from_the_best)
    again, whole = tuning.run(tmp_path / "search"), tuning.run(tmp_path / "whole")
    assert trained[0].run.seed == check_seeds(0, 2)[1]
    assert (again.check_failure, again.comparison, again.verdict) == (None, whole.comparison, whole.verdict)


def test_a_search_continues_with_more_trials_and_another_check(tiny, returning, tmp_path):
    returning(far_from_the_best)
    Tuning(tiny, trials=5, space=SPACE, check_seeds=2).run(tmp_path / "search")
    trained = returning(far_from_the_best)
    again = Tuning(tiny, trials=5, space=SPACE, check_seeds=2).run(tmp_path / "search")
    assert trained == []
    more = Tuning(tiny, trials=9, space=SPACE, check_seeds=2).run(tmp_path / "search")
    assert sum(more.trials.values()) == 9
    assert more.value >= again.value
    whole = Tuning(tiny, trials=9, space=SPACE, check_seeds=2).run(tmp_path / "whole")
    assert (more.settings, more.value, more.comparison) == (whole.settings, whole.value, whole.comparison)


def test_a_stopped_search_continues_as_if_nothing_had_happened(tiny, returning, tmp_path):
    count = 0

    def stops(experiment):
        nonlocal count
        count += 1
        if count in (4, 13):
            raise StoppedBySignalError(15)
        return far_from_the_best(experiment)

    returning(stops)
    tuning = Tuning(tiny, trials=10, space=SPACE, check_seeds=2)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            tuning.run(tmp_path / "search")
    stopped = tuning.run(tmp_path / "search")
    returning(far_from_the_best)
    whole = tuning.run(tmp_path / "whole")
    assert (stopped.settings, stopped.value, stopped.comparison) == (whole.settings, whole.value, whole.comparison)
    assert stopped.trials == {**whole.trials, "killed": 1}


@pytest.mark.parametrize(
    "changes",
    [{"seeds": 2}, {"evaluations": 7}, {"prune": False}, {"space": {"gamma": Choice((0.5, 0.9))}}, {"space": None}],
)
def test_another_search_needs_another_folder(changes, tiny, returning, tmp_path):
    returning(far_from_the_best)
    tuning = Tuning(tiny, trials=2, space=SPACE, check_seeds=0)
    tuning.run(tmp_path / "search")
    before = (tmp_path / "search" / "tuning.json").read_bytes()
    with pytest.raises(ValueError, match=f"has a search with another {next(iter(changes))}: name another folder"):
        dataclasses.replace(tuning, **changes).run(tmp_path / "search")
    with pytest.raises(ValueError, match="has a search with another hidden_sizes, total_steps"):
        dataclasses.replace(tuning, experiment=tiny.replace(total_steps=7, hidden_sizes=[9])).run(tmp_path / "search")
    assert (tmp_path / "search" / "tuning.json").read_bytes() == before


def test_fixed_settings_are_the_same_in_all_trials(tiny, returning, tmp_path):
    trained = returning(lambda experiment: 1.0)
    tuning = Tuning(tiny, trials=8, check_seeds=0, fixed_settings=("max_kl", "num_steps"))
    tuning.run(tmp_path / "search")
    assert {(experiment.flat()["max_kl"], experiment.flat()["num_steps"]) for experiment in trained} == {(0.01, 32)}
    assert len({experiment.flat()["gamma"] for experiment in trained}) > 1
    with pytest.raises(ValueError, match="has a search with another fixed_settings: name another folder"):
        dataclasses.replace(tuning, fixed_settings=()).run(tmp_path / "search")


def test_a_folder_with_other_files_is_refused_and_not_changed(tiny, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty, and holds no search"):
        Tuning(tiny, space=SPACE).run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"env_kwargs": {"no": 1}}, "cannot be made"),
        ({"activation": "nonsense"}, "Keras has none named 'nonsense'"),
    ],
)
def test_what_makes_every_trial_fail_is_refused_before_the_first(tiny, settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        Tuning(tiny.replace(**settings), space=SPACE).run(tmp_path / "search")
    assert not (tmp_path / "search").exists()


def test_a_search_with_real_trainings_is_reproducible(tiny, tmp_path):
    tuning = Tuning(tiny, trials=2, space=SPACE, check_seeds=1, evaluations=2)
    one, other = tuning.run(tmp_path / "one"), tuning.run(tmp_path / "other")
    assert (one.settings, one.value, one.verdict) == (other.settings, other.value, other.verdict)
    runs, others = (sorted((tmp_path / name / "trials").iterdir()) for name in ("one", "other"))
    assert len(runs) == 2
    settings, same = (
        [json.loads((run / "config.json").read_text())["settings"] for run in each] for each in (runs, others)
    )
    assert settings == same
    assert settings[0]["max_kl"] != settings[1]["max_kl"]
    assert (settings[0]["seed"], settings[0]["eval_every"]) == (search_seeds(0, 1)[0], 64)
    assert "eval/mean_reward" in (runs[0] / "history.csv").read_text().splitlines()[0]


def record(number, state, value=None, **settings):
    return TrialRecord(number, state, value, settings, {0: 1.0, 1: 2.5}, number == 0, "broke" if value is None else "")


def test_the_table_shows_the_newest_trials_and_the_best():
    records = [record(0, "complete", 9.0, max_kl=0.01), *(record(i, "pruned", 1.0, max_kl=0.1) for i in range(1, 30))]
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with TrialTable(lambda: records, 40, console=console) as table:
        table.update()
    text = console.file.getvalue()
    assert "30 of 40 trials; best 9" in text
    assert "complete (default)" in text
    assert "29" in text
    assert "2, last 2.5" in text


def test_without_a_terminal_each_finished_trial_is_a_line():
    records = [record(0, "complete", 9.0, max_kl=0.01)]
    console = Console(file=io.StringIO(), width=100)
    with TrialTable(lambda: records, 3, console=console) as table:
        records += [record(1, "running", max_kl=0.02), record(2, "failed", hidden_sizes=(8, 8))]
        table.update()
        records[1] = record(1, "pruned", 3.0, max_kl=0.02)
        table.update()
        table.update()
    assert console.file.getvalue().splitlines() == [
        "trial 2 failed - hidden_sizes=(8, 8): broke",
        "trial 1 pruned 3 max_kl=0.02",
    ]


def test_a_table_that_nobody_reads_does_not_end_the_search(unread):
    with unread(), TrialTable(list, 3) as table:
        table.say("the final check")
        table.update()

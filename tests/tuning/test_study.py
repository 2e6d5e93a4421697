"""The trials in a file: the next trial, killed trials, and drawn settings."""

import optuna
import pytest

from tf_trpo import Experiment
from tf_trpo.tuning.space import Choice, Range
from tf_trpo.tuning.study import Study, best_of

SPACE = {
    "max_kl": Range(0.001, 0.1, log=True),
    "value_epochs": Range(1, 30),
    "hidden_sizes": Choice(((8,), (8, 8), ())),
    "activation": Choice(("tanh", "relu")),
    "value_learning_rate": Choice((None, 0.01)),
    "normalize_rewards": Choice((True, False)),
}
DEFAULT = Experiment().replace(max_kl=0.01)
"""The defaults for an action of one dimension."""


def ask_and_die(folder):
    """Begin a trial of which neither the settings nor the process are recorded."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.db'}")
    optuna.load_study(study_name="tuning", storage=storage).ask()
    storage.engine.dispose()


@pytest.fixture
def make(tmp_path):
    """make(name, seed, prune): a study in the folder with this name, new or existing."""

    def open_study(name="study", seed=0, *, prune=True, space=SPACE):
        (tmp_path / name).mkdir(exist_ok=True)
        return Study(tmp_path / name, space, seed, prune=prune)

    return open_study


def drawn(study, count):
    """Ask for trials and complete them; return their settings."""
    found = []
    for _ in range(count):
        trial = study.ask(1000)
        found.append(study.settings_of(trial))
        study.complete(trial, found[-1]["max_kl"])
    return found


def test_settings_come_back_in_the_form_of_the_experiment(make):
    study = make()
    for settings in drawn(study, 12):
        experiment = Experiment().replace(**settings)
        assert {name: experiment.flat()[name] for name in SPACE} == settings
        assert all(values.contains(settings[name]) for name, values in SPACE.items())
    assert [record.settings for record in make().records()] == [record.settings for record in study.records()]


def test_the_first_trial_has_the_default_settings(make):
    study = make()
    assert study.enqueue_default(DEFAULT) == ["hidden_sizes"]
    # A process that is killed here does not enqueue it twice.
    make().enqueue_default(DEFAULT)
    space_without = {"max_kl": Range(0.5, 1.0), "gamma": Choice((0.9, 0.99))}
    other = make("other", space=space_without)
    assert other.enqueue_default(DEFAULT) == ["max_kl"]
    # The default hidden sizes, (64, 64), are not in the space.
    for trials, names in ((study, SPACE.keys() - {"hidden_sizes"}), (other, ["gamma"])):
        settings = trials.settings_of(trials.ask(10))
        usual = DEFAULT.flat()
        assert {name: settings[name] for name in names} == {name: usual[name] for name in names}
        [record] = trials.records()
        assert not record.is_default


def test_a_space_with_all_default_settings_has_a_default_trial(make):
    study = make(space={"max_kl": SPACE["max_kl"], "value_learning_rate": Range(1e-4, 1e-2, log=True)})
    assert study.enqueue_default(DEFAULT) == []
    assert study.settings_of(study.ask(10)) == {"max_kl": 0.01, "value_learning_rate": 0.001}
    [record] = study.records()
    assert record.is_default


def test_a_damaged_file_is_refused_with_its_name(make, tmp_path):
    make()
    (tmp_path / "study" / "study.db").write_bytes(b"no database, but long enough to have a header" * 100)
    with pytest.raises(ValueError, match=r"study\.db cannot be used: file is not a database"):
        make()


def test_drawn_settings_depend_on_the_seed(make):
    assert drawn(make("one"), 3) == drawn(make("same"), 3)
    assert drawn(make("other", seed=1), 3) != drawn(make("one"), 3)


def test_no_more_trials_begin_than_are_wanted(make):
    study = make()
    drawn(study, 2)
    running = study.ask(3)
    assert running is not None
    assert study.ask(3) is None
    study.fail(running, "no reason")
    assert study.ask(3) is None
    assert study.ask(4) is not None
    assert [record.state for record in study.records()] == ["complete", "complete", "failed", "running"]
    assert study.records()[2].reason == "no reason"


def test_a_killed_trial_is_repeated_with_its_settings_and_does_not_count(make):
    whole = drawn(make("whole"), 12)
    killed = make("killed")
    first = drawn(killed, 10)
    lost = killed.settings_of(killed.ask(12))
    again = make("killed")
    assert again.repeat_killed() == 1
    assert again.repeat_killed() == 0
    assert [record.state for record in again.records()[-2:]] == ["killed", "waiting"]
    rest = drawn(again, 2)
    assert rest[0] == lost
    # The same as without the kill.
    assert first + rest == whole
    assert again.ask(12) is None


def test_a_trial_that_is_killed_twice_is_repeated_twice(make):
    study = make()
    settings = study.settings_of(study.ask(1))
    for _ in range(2):
        study.repeat_killed()
        assert study.settings_of(study.ask(1)) == settings
    assert [record.state for record in study.records()] == ["killed", "killed", "running"]
    assert study.ask(1) is None


def test_a_trial_that_was_killed_while_it_was_drawn_is_drawn_again(make, tmp_path):
    whole, killed = make("whole"), make("killed")
    for study in (whole, killed):
        study.enqueue_default(DEFAULT.replace(hidden_sizes=(8,)))
        drawn(study, 1)
    ask_and_die(tmp_path / "killed")
    assert killed.repeat_killed(1) == 1
    assert drawn(killed, 3) == drawn(whole, 3)


def test_a_default_trial_that_was_killed_while_drawn_keeps_its_settings(make, tmp_path):
    study = make()
    study.enqueue_default(DEFAULT.replace(hidden_sizes=(8,)))
    ask_and_die(tmp_path / "study")
    study.repeat_killed()
    settings = study.settings_of(study.ask(1))
    assert (settings["max_kl"], settings["value_epochs"], settings["hidden_sizes"]) == (0.01, 10, (8,))
    assert [record.is_default for record in study.records()] == [True, True]


def test_only_the_trials_of_a_worker_that_was_killed_are_repeated(make):
    study = make()
    trials = [study.ask(5, worker) for worker in (0, 1)]
    assert study.repeat_killed(1) == 1
    assert [record.state for record in study.records()] == ["running", "killed", "waiting"]
    study.complete(trials[0], 1.0)
    assert study.settings_of(study.ask(5)) == study.settings_of(trials[1])


def test_a_trial_below_the_median_of_the_others_is_pruned(make):
    study = make()
    for value in (10.0, 11.0, 12.0, 13.0, 14.0):
        trial = study.ask(10)
        for position in range(3):
            trial.report(value, position)
            assert not trial.should_prune()
        study.complete(trial, value)
    bad, good = study.ask(10), study.ask(10)
    for trial, value in ((bad, 5.0), (good, 20.0)):
        trial.report(value, 0)
        assert not trial.should_prune(), "the first evaluation decides nothing"
        trial.report(value, 1)
    assert bad.should_prune()
    assert not good.should_prune()
    study.prune(bad)
    study.complete(good, 20.0)
    assert study.records()[5].state == "pruned"
    assert best_of(study.records()).value == 20.0


def test_no_trial_is_pruned_without_prune(make):
    study = make(prune=False)
    drawn(study, 8)
    trial = study.ask(10)
    for position in range(3):
        trial.report(-1e9, position)
        assert not trial.should_prune()


def test_the_setting_that_decides_is_the_most_important(make):
    study = make()
    assert study.importances() == {}
    drawn(study, 30)
    importances = study.importances()
    assert next(iter(importances)) == "max_kl"
    assert sum(importances.values()) == pytest.approx(1)


def test_equal_trials_have_no_importances_and_the_first_is_the_best(make):
    study = make()
    assert best_of(study.records()) is None
    for _ in range(6):
        study.complete(study.ask(10), 1.0)
    assert study.importances() == {}
    assert best_of(study.records()).number == 0

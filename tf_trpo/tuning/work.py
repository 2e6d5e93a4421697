"""The work of one process of a search: trials, or trainings of the final check."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_trpo.environments.failures import described
from tf_trpo.experiment import Experiment
from tf_trpo.tuning.seeds import check_seeds, search_seeds
from tf_trpo.tuning.study import Study
from tf_trpo.tuning.training import FAILURES, finished_value, train_once
from tf_trpo.tuning.tuning import Tuning, TuningFailedError

_FAILURES = 3
"""The search ends if this many trials have failed and none has succeeded."""
DEFAULT = "default"
"""Name of the settings from which the search started, in the final check."""
_logger = logging.getLogger(__name__)


def nothing() -> None:
    """Do nothing."""


def work_on_trials(
    tuning: Tuning, study: Study, folder: Path, *, worker: int = 0, on_change: Callable[[], None] = nothing
) -> None:
    """Run trials until the number of trials is reached.

    Args:
      tuning: the settings of the search.
      study: the trials.
      folder: folder of the search.
      worker: the number of this process.
      on_change: called after each evaluation and each trial.

    Raises:
      TuningFailedError: the first trials have all failed.
      StoppedBySignalError: a signal stopped a training; its trial will be repeated.
    """
    while (trial := study.ask(tuning.trials, worker)) is not None:
        on_change()
        try:
            value = _value(tuning, study, trial, folder / "trials" / f"{trial.number:04}", on_change)
        except FAILURES as error:
            study.fail(trial, described(error))
            states = [record.state for record in study.records()]
            if states.count("failed") >= _FAILURES and not {"complete", "pruned"} & set(states):
                raise TuningFailedError(f"all trials failed so far; the last one: {described(error)}") from error
        else:
            if value is None:
                study.prune(trial)
            else:
                study.complete(trial, value)
        on_change()


def _value(tuning: Tuning, study: Study, trial: Any, folder: Path, on_change: Callable[[], None]) -> float | None:
    """Train on all seeds of the search; return the mean return, or None if the trial was stopped early."""
    settings, values = study.settings_of(trial), []
    reported = -1
    for place, seed in enumerate(search_seeds(tuning.experiment.run.seed, tuning.seeds)):

        def report(position: int, value: float, place: int = place) -> bool:
            nonlocal reported
            step = place * tuning.evaluations + min(position, tuning.evaluations - 1)
            if step <= reported:
                return False
            is_first, reported = reported < 0, step
            trial.report(value, step)
            on_change()
            # The pruner spares position 0 only, which trials with long rollouts skip. It compares a trial's best
            # evaluation until now, in which a good first seed would hide the evaluations of later ones.
            return not is_first and place == 0 and trial.should_prune()

        experiment = tuning.experiment.replace(**settings, seed=seed)
        value = train_once(experiment, folder.with_name(f"{folder.name}-{seed}"), tuning.evaluations, report)
        if value is None:
            return None
        values.append(value)
    return float(np.mean(values))


def check_runs(tuning: Tuning, number: int, settings: Mapping[str, Any]) -> list[tuple[str, Experiment]]:
    """Return the trainings of the final check: pairs of the default and the best settings on every seed.

    Args:
      tuning: the settings of the search.
      number: number of the best trial.
      settings: settings of the best trial.

    Returns:
      Names of folders, and experiments. A name has the number of the best trial, since a search that is continued may
      find another best trial.
    """
    runs = []
    for seed in check_seeds(tuning.experiment.run.seed, tuning.check_seeds):
        runs.append((f"{DEFAULT}-{seed}", tuning.experiment.replace(seed=seed)))
        runs.append((f"trial-{number:04}-{seed}", tuning.experiment.replace(**settings, seed=seed)))
    return runs


def work_on_check(runs: Sequence[tuple[str, Experiment]], tuning: Tuning, folder: Path) -> None:
    """Train the runs of the final check that are not complete.

    Raises:
      TuningFailedError: a training failed.
      StoppedBySignalError: a signal stopped a training.
    """
    for name, experiment in runs:
        if finished_value(folder / "check" / name) is None:
            try:
                train_once(experiment, folder / "check" / name, tuning.evaluations, lambda *_: False)
            except FAILURES as error:
                where = f"the training {name} of the final check, with seed {experiment.run.seed},"
                raise TuningFailedError(f"{where} failed: {described(error)}") from error

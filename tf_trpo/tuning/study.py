"""The trials of a search, stored in a file by Optuna: settings, returns, and trials that were killed.

Only this module uses Optuna. A trial whose process was killed is marked as failed, does not count, and is repeated with
the same settings. The settings of a trial depend only on the seed and on the trials that count. So, with one process, a
search that was killed and continued has the same result as an uninterrupted one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tf_trpo.experiment import Experiment
from tf_trpo.extras import not_installed
from tf_trpo.tuning.seeds import sampler_seed
from tf_trpo.tuning.space import Range, SearchSpace, is_whole, values_in

try:
    import optuna
    from optuna.trial import FrozenTrial, TrialState
    from sqlalchemy.exc import DatabaseError
    from sqlalchemy.pool import NullPool
except ImportError as error:
    raise not_installed("optuna") from error

_REPEATS, _DEFAULT, _FIXED, _REASON, _WORKER = "repeats", "default", "fixed", "reason", "worker"
"""Names of user attributes of a trial: the number of the killed trial that it repeats, whether it has the default
settings, the settings that were not drawn, why it failed, and the process that runs it."""
_STARTUP = 5
"""Number of trials that are trained to the end before others may be pruned."""


class TrialRecord(NamedTuple):
    """A trial, for display and for results.

    Attributes:
      number: number of the trial, from 0; killed trials are numbered too.
      state: "running", "complete", "pruned", "failed", "killed" or "waiting".
      value: mean return of the final evaluations, or of the last evaluation if the trial was pruned; None without any.
      settings: values by name.
      evaluations: mean returns of the evaluations during training, by their position.
      is_default: whether the trial has the settings from which the search started.
      reason: why the trial failed; empty if it did not.
    """

    number: int
    state: str
    value: float | None
    settings: dict[str, Any]
    evaluations: dict[int, float]
    is_default: bool
    reason: str


class Study:
    """The trials of one search.

    Args:
      folder: folder of the search; study.db in it holds the trials.
      space: the search space.
      seed: seed from which settings are drawn.
      prune: stop a trial early if its best evaluation so far is worse than the median, at the same evaluation, of the
        trials that were trained to the end.

    Raises:
      ValueError: study.db is damaged, or is no database.
    """

    def __init__(self, folder: Path, space: SearchSpace, seed: int, *, prune: bool) -> None:
        self._seed, self._lock = seed, folder / "study.lock"
        # Sorted, so that nothing depends on the order of lines in a file.
        self._distributions = {name: _distribution(name, space[name]) for name in sorted(space)}
        self._space = space
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        url = f"sqlite:///{folder / 'study.db'}"
        # Without a pool, every connection is closed after its use, so none is left open when the search ends.
        engine = {"connect_args": {"timeout": 60}, "poolclass": NullPool}
        try:
            storage = optuna.storages.RDBStorage(url, engine_kwargs=engine)
        except (DatabaseError, optuna.exceptions.StorageInternalError) as error:
            raise ValueError(f"{folder / 'study.db'} cannot be used: {getattr(error, 'orig', error)}") from error
        pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
        if prune:
            pruner = optuna.pruners.MedianPruner(n_startup_trials=_STARTUP, n_warmup_steps=1)
        self._study = optuna.create_study(
            storage=storage, study_name="tuning", direction="maximize", load_if_exists=True, pruner=pruner
        )

    def enqueue_default(self, experiment: Experiment) -> list[str]:
        """Give the first trial the settings from which the search starts, as far as they lie in the space.

        Returns:
          The settings whose values do not lie in the space. If there are any, no trial has the default settings.
        """
        found = values_in(self._space, experiment)
        outside = [name for name in self._space if name not in found]
        if not self._trials():
            self._enqueue({name: _encoded(value) for name, value in found.items()}, {_DEFAULT: not outside})
        return outside

    def repeat_killed(self, worker: int | None = None) -> int:
        """Mark running trials as killed, and enqueue their repetition. No process may be running them any more.

        Args:
          worker: process whose trials are repeated; None for all.

        Returns:
          The number of these trials.
        """
        # `ask` holds the lock until it has noted the process of a trial.
        with _locked(self._lock):
            trials = self._trials()
            repeated = {trial.user_attrs.get(_REPEATS) for trial in trials}
            running = [trial for trial in trials if trial.state == TrialState.RUNNING]
            chosen = [trial for trial in running if worker in (None, trial.user_attrs.get(_WORKER, worker))]
            for trial in chosen:
                # Enqueue first: if this process is killed in between, the trial still runs, and is known as repeated.
                if trial.number not in repeated:
                    # If only some settings had been drawn, all are drawn again.
                    is_whole = trial.params.keys() == self._distributions.keys()
                    fixed = dict(trial.params) if is_whole else trial.user_attrs.get(_FIXED, {})
                    self._enqueue(fixed, {**trial.user_attrs, _REPEATS: trial.number})
                self._study.tell(trial.number, state=TrialState.FAIL)
            return len(chosen)

    def ask(self, trials: int, worker: int = 0) -> optuna.trial.Trial | None:
        """Begin the next trial; return None if `trials` trials that count have begun."""
        with _locked(self._lock):
            begun = sum(state not in ("waiting", "killed") for *_, state in self._states())
            if begun >= trials:
                return None
            # Each trial has its own sampler: samplers of several processes with the same seed would draw the same.
            self._study.sampler = optuna.samplers.TPESampler(seed=sampler_seed(self._seed, begun))
            trial = self._study.ask(self._distributions)
            trial.set_user_attr(_WORKER, worker)
            return trial

    def settings_of(self, trial: optuna.trial.Trial | FrozenTrial) -> dict[str, Any]:
        """Return the settings of a trial by name."""
        return {name: _decoded(value) for name, value in trial.params.items()}

    def complete(self, trial: optuna.trial.Trial, value: float) -> None:
        """Record the result of a trial."""
        self._study.tell(trial, value)

    def prune(self, trial: optuna.trial.Trial) -> None:
        """Record that a trial was stopped early."""
        self._study.tell(trial, state=TrialState.PRUNED)

    def fail(self, trial: optuna.trial.Trial, reason: str) -> None:
        """Record that a trial failed, and why."""
        trial.set_user_attr(_REASON, reason)
        self._study.tell(trial, state=TrialState.FAIL)

    def records(self) -> list[TrialRecord]:
        """Return all trials."""
        return [
            TrialRecord(
                trial.number,
                state,
                trial.value,
                self.settings_of(trial),
                dict(trial.intermediate_values),
                bool(trial.user_attrs.get(_DEFAULT)),
                trial.user_attrs.get(_REASON, ""),
            )
            for trial, state in self._states()
        ]

    def importances(self) -> dict[str, float]:
        """Estimate the importance of each setting for the difference between good trials and the others.

        Returns:
          Setting -> fraction in [0, 1], the largest first; empty if there are too few trials.

        Source:
          Watanabe et al. (2023), "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces".
        """
        values = {trial.value for trial in self._trials() if trial.state == TrialState.COMPLETE}
        if len(values) < 4:
            return {}
        with warnings.catch_warnings():
            # The evaluator is experimental in Optuna.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            try:
                return optuna.importance.get_param_importances(self._study, evaluator=evaluator)
            except (ValueError, RuntimeError):
                return {}

    def _enqueue(self, fixed: Mapping[str, Any], notes: Mapping[str, Any]) -> None:
        self._study.enqueue_trial(dict(fixed), user_attrs={**notes, _FIXED: dict(fixed)})

    def _trials(self) -> Sequence[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _states(self) -> list[tuple[FrozenTrial, str]]:
        trials = self._trials()
        repeated = {trial.user_attrs.get(_REPEATS) for trial in trials}
        names = {TrialState.FAIL: "failed"}
        return [
            (
                trial,
                "killed"
                if trial.state == TrialState.FAIL and trial.number in repeated
                else names.get(trial.state, trial.state.name.lower()),
            )
            for trial in trials
        ]


def _distribution(name: str, values: Any) -> optuna.distributions.BaseDistribution:
    if not isinstance(values, Range):
        return optuna.distributions.CategoricalDistribution([_encoded(value) for value in values.values])
    if is_whole(name):
        return optuna.distributions.IntDistribution(int(values.low), int(values.high), log=values.log)
    return optuna.distributions.FloatDistribution(float(values.low), float(values.high), log=values.log)


def _encoded(value: Any) -> Any:
    """Convert a value for Optuna: to JSON, unless it is a number, a bool or None."""
    return json.dumps(value) if isinstance(value, str | tuple) else value


def _decoded(value: Any) -> Any:
    decoded = json.loads(value) if isinstance(value, str) else value
    return tuple(decoded) if isinstance(decoded, list) else decoded


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a file lock, which the system releases if this process is killed."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def best_of(records: Sequence[TrialRecord]) -> TrialRecord | None:
    """Return the complete trial with the largest value, the first of equal ones; None if there is none."""
    complete = [record for record in records if record.state == "complete" and record.value is not None]
    return max(complete, key=lambda record: record.value, default=None)  # type: ignore[arg-type, return-value]

"""One training of a search: a run with quiet settings, evaluated on the way, which may be cut short."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras

from tf_trpo.environments import EnvironmentFailedError, InvalidStepError
from tf_trpo.experiment import Experiment, RunFolder
from tf_trpo.training import TrainingFailedError

FAILURES = (EnvironmentFailedError, InvalidStepError, TrainingFailedError, ValueError)
"""What a training may raise because of its settings, or because of an environment that fails now and then."""


class StoppedBySignalError(KeyboardInterrupt):
    """A signal stopped a training, which does not count.

    Attributes:
      number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Watch(keras.callbacks.Callback):
    """Hands on the evaluations of a training, and stops the training if it is told to.

    Args:
      every: environment steps between two evaluations.
      report: gets the position of an evaluation and its mean return; returns whether to stop. The position is the
        number of steps in units of `every`, less one, so that trainings with rollouts of any length can be compared.

    Attributes:
      stopped: whether the training was stopped.
    """

    def __init__(self, every: int, report: Callable[[int, float], bool]) -> None:
        super().__init__()
        self.stopped = False
        self._every, self._report = every, report

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        if logs and "eval/mean_reward" in logs:
            # With the last one the training is over anyway.
            steps = int(self.model.env_steps.numpy())
            stop = self._report(steps // self._every - 1, logs["eval/mean_reward"])
            if stop and steps < self.params["total_steps"]:
                self.stopped = self.model.stop_training = True


def train_once(
    experiment: Experiment, folder: Path, evaluations: int, report: Callable[[int, float], bool]
) -> float | None:
    """Train into a folder, which is replaced, and evaluate.

    Args:
      experiment: all settings, the seed among them.
      folder: of the run.
      evaluations: number of evaluations during the training, >= 1.
      report: as for `Watch`.

    Returns:
      The mean return of the final evaluation; None if the training was stopped by `report`.

    Raises:
      StoppedBySignalError: a signal stopped the training.
      FAILURES: the settings or the environment do not work.
    """
    if folder.exists():
        # Of a process that was killed.
        shutil.rmtree(folder)
    experiment = watched(experiment, evaluations)
    watch = Watch(experiment.run.eval_every, report)
    trained = experiment.train(folder, callbacks=[watch])
    if trained.stopped_by is not None:
        raise StoppedBySignalError(trained.stopped_by)
    assert trained.evaluation is not None, "the run was not stopped"
    value = trained.evaluation["mean_return"]
    if not math.isfinite(value):
        raise ValueError(f"the mean return is {value}")
    return None if watch.stopped else value


def watched(experiment: Experiment, evaluations: int) -> Experiment:
    """Give the experiment of one training: with evaluations on the way, and with nothing that only people look at."""
    every = max(experiment.run.total_steps // evaluations, 1)
    quiet: dict[str, Any] = {"checkpoint_every": 0, "histogram_every": 0, "video_every": 0}
    return experiment.replace(eval_every=every, quiet=True, export=False, **quiet)


def finished_value(folder: Path) -> float | None:
    """Read the mean return of a run that is over; None if it is not."""
    run = RunFolder(folder)
    found = run.read_evaluation() if run.is_complete() else None
    return None if found is None else found["mean_return"]

"""Run one training of a search, with evaluations during training at which it may be stopped."""

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
"""Exceptions of a training that are due to its settings, or to an environment that sometimes fails."""


class StoppedBySignalError(KeyboardInterrupt):
    """A signal stopped a training, which then does not count.

    Attributes:
      number: number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Watch(keras.callbacks.Callback):
    """Reports the evaluations of a training, and stops the training on request.

    Args:
      every: environment steps between evaluations.
      report: function of the position of an evaluation and its mean return; returns whether to stop. The position is
        the number of steps in units of `every`, minus one, so that trainings with rollouts of any length can be
        compared.

    Attributes:
      stopped: whether the training was stopped.
    """

    def __init__(self, every: int, report: Callable[[int, float], bool]) -> None:
        super().__init__()
        self.stopped = False
        self._every, self._report = every, report

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        if logs and "eval/mean_reward" in logs:
            # At the last evaluation, training ends anyway and counts as complete.
            steps = int(self.model.env_steps.numpy())
            stop = self._report(steps // self._every - 1, logs["eval/mean_reward"])
            if stop and steps < self.params["total_steps"]:
                self.stopped = self.model.stop_training = True


def train_once(
    experiment: Experiment, folder: Path, evaluations: int, report: Callable[[int, float], bool]
) -> float | None:
    """Train into a folder, which is replaced if it exists, and evaluate.

    Args:
      experiment: all settings, including the seed.
      folder: folder of the run.
      evaluations: number of evaluations during training, >= 1.
      report: as for `Watch`.

    Returns:
      The mean return of the final evaluation; None if the training was stopped by `report`.

    Raises:
      StoppedBySignalError: a signal stopped the training.
      FAILURES: the settings or the environment do not work.
    """
    if folder.exists():
        # The folder was left by a process that was killed.
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
    """Return the experiment with evaluations during training, and without checkpoints, films, histograms and output."""
    every = max(experiment.run.total_steps // evaluations, 1)
    quiet: dict[str, Any] = {"checkpoint_every": 0, "histogram_every": 0, "video_every": 0}
    return experiment.replace(eval_every=every, quiet=True, export=False, **quiet)


def finished_value(folder: Path) -> float | None:
    """Return the mean return of a complete run; None if the run is not complete."""
    run = RunFolder(folder)
    found = run.read_evaluation() if run.is_complete() else None
    return None if found is None else found["mean_return"]

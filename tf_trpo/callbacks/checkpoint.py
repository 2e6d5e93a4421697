"""Checkpoints during training."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import keras

from tf_trpo.callbacks.every_steps import EverySteps


class Checkpoint(keras.callbacks.Callback):
    """Writes DIRECTORY/steps-N.ckpt every so many environment steps, and when training ends or fails.

    `TRPO.fit(resume_from=DIRECTORY)` continues from the newest one. Put this callback last, so that the checkpoint has
    what the other callbacks do at an epoch's end. Training does not begin if a checkpoint in the folder has more steps
    than the agent, because another fit wrote that checkpoint.

    Args:
      directory: folder of the checkpoints; made if it is missing.
      every_steps: environment steps between two checkpoints, >= 1; None for the end, or a failure, only.
      keep: how many to keep, >= 1.
      at_start: write one before the first iteration too, so that there is always one to continue from.
    """

    def __init__(
        self, directory: str | os.PathLike[str], every_steps: int | None, *, keep: int = 2, at_start: bool = False
    ) -> None:
        super().__init__()
        if keep < 1:
            raise ValueError(f"keep must be at least 1, got {keep}")
        self._directory = Path(directory)
        self._every_steps = EverySteps(every_steps)
        self._keep = keep
        self._at_start = at_start

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        self.params["trainer"].check_directory(self._directory)
        self._every_steps.start(int(self.model.env_steps.numpy()))
        if self._at_start:
            self._save()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        if self._every_steps.reached(int(self.model.env_steps.numpy())):
            self._save()

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        self._save()

    def save_on_failure(self) -> None:
        """Write a checkpoint of the last whole iteration, unless there is one."""
        self._save()

    def _save(self) -> None:
        self.params["trainer"].save_checkpoint(self._directory, keep=self._keep)

"""Checkpoints during training."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import keras

from tf_trpo.callbacks.every_steps import EverySteps


class Checkpoint(keras.callbacks.Callback):
    """Writes DIRECTORY/steps-N.ckpt every so many environment steps, and when training ends or fails.

    `TRPO.fit(resume_from=DIRECTORY)` continues from the newest one. Put this callback last: what other callbacks do at
    an epoch's end is in the checkpoint then. A folder with checkpoints of more steps than the agent has is another
    fit's: training does not begin then.

    Args:
      directory: folder of the checkpoints; made if it is missing.
      every_steps: environment steps between two of them, >= 1; None for the end, or a failure, only.
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
        self._every_steps = None if every_steps is None else EverySteps(every_steps)
        self._keep = keep
        self._at_start = at_start
        self._last = -1

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        self.params["trainer"].check_directory(self._directory)
        if self._every_steps is not None:
            self._every_steps.start(int(self.model.env_steps.numpy()))
        self._last = -1
        if self._at_start:
            self._save()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        if self._every_steps is not None and self._every_steps.reached(int(self.model.env_steps.numpy())):
            self._save()

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        self.save_on_failure()

    def save_on_failure(self) -> None:
        """Write a checkpoint of the last whole iteration, unless there is one."""
        if self._last != int(self.model.env_steps.numpy()):
            self._save()

    def _save(self) -> None:
        self.params["trainer"].save_checkpoint(self._directory, keep=self._keep)
        # Not before: a write that failed is tried again when training fails.
        self._last = int(self.model.env_steps.numpy())

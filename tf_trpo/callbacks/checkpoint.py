"""Copies of the agent during training."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import keras


class Checkpoint(keras.callbacks.Callback):
    """Saves the agent as DIRECTORY/steps-N.keras every so many environment steps; keeps the newest.

    A file is written aside and renamed, so that one that is there is whole.

    Args:
      directory: folder of the files; made when missing.
      every_steps: environment steps between two of them, >= 1.
      keep: how many to keep, >= 1.
    """

    def __init__(self, directory: str | os.PathLike[str], every_steps: int, *, keep: int = 3) -> None:
        super().__init__()
        if every_steps < 1 or keep < 1:
            raise ValueError(f"every_steps and keep must be at least 1, got {every_steps} and {keep}")
        self._directory = Path(directory)
        self._every_steps = every_steps
        self._keep = keep
        self._last = 0

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._last = int(self.model.env_steps.numpy())

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        steps = int(self.model.env_steps.numpy())
        if steps - self._last >= self._every_steps:
            self._save(steps)
            self._last = steps

    def _save(self, steps: int) -> None:
        aside = self._directory / ".writing.keras"
        self.model.save(aside)
        aside.rename(self._directory / f"steps-{steps:012d}.keras")
        for old in sorted(self._directory.glob("steps-*.keras"))[: -self._keep]:
            old.unlink()

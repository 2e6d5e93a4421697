"""The logs as a CSV file."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from typing import TextIO

import keras


class HistoryCSV(keras.callbacks.Callback):
    """Writes one row an iteration, at once, with the figures of the first iteration as columns.

    The stock CSVLogger adds a val_ column for each of them, which no agent ever fills.

    Args:
      path: the file, written anew.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self._path = path
        self._file: TextIO | None = None
        self._writer: csv.DictWriter[str] | None = None

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        self._file = open(self._path, "w", newline="", encoding="utf-8")  # noqa: SIM115
        self._writer = None

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        figures = dict(logs or {})
        assert self._file is not None
        if self._writer is None:
            self._writer = csv.DictWriter(self._file, list(figures), extrasaction="ignore")
            self._writer.writeheader()
        self._writer.writerow(figures)
        self._file.flush()

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        self.release()

    def release(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

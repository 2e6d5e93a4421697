"""The logs as a CSV file."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

import keras


class HistoryCSV(keras.callbacks.Callback):
    """Writes one row an iteration, at once, with the figures of the first iteration as columns.

    The stock CSVLogger adds a val_ column for each of them, which no agent ever fills.

    Args:
      path: the file, written anew.
      append: go on with a file that is there, after the rows of iterations that the agent has done; those
        of later ones, which a resumed training repeats, are left out.
    """

    def __init__(self, path: str | os.PathLike[str], *, append: bool = False) -> None:
        super().__init__()
        self._path = Path(path)
        self._append = append
        self._file: TextIO | None = None
        self._writer: csv.DictWriter[str] | None = None

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        done = self._rows_until(int(self.model.iterations.numpy())) if self._append else []
        aside = self._path.with_name(f"{self._path.name}.partial")
        self._file = open(aside, "w", newline="", encoding="utf-8")  # noqa: SIM115
        self._writer = None
        for row in done:
            self._write(row)
        # Until here, the old file was whole; the open one follows its new name.
        aside.replace(self._path)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self._write(dict(logs or {}))

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        self.release()

    def _rows_until(self, iteration: int) -> list[dict[str, str]]:
        if not self._path.exists():
            return []
        with open(self._path, newline="", encoding="utf-8") as file:
            # A process that was killed may have left half a row.
            whole = [row for row in csv.DictReader(file) if None not in row.values()]
        return [row for row in whole if float(row["time/iterations"]) <= iteration]

    def _write(self, figures: Mapping[str, object]) -> None:
        assert self._file is not None
        if self._writer is None:
            self._writer = csv.DictWriter(self._file, list(figures), extrasaction="ignore")
            self._writer.writeheader()
        self._writer.writerow(figures)
        self._file.flush()

    def release(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

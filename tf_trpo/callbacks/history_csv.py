"""Write the logs to a CSV file."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras

from tf_trpo.files import write_whole


class HistoryCSV(keras.callbacks.Callback):
    """Writes a row at the end of each iteration; the cell of a figure that an iteration does not log is empty.

    If a figure first appears in a later iteration, the whole file is replaced by one with the new column. Keras'
    CSVLogger would drop such figures, and adds an empty val_ column for each figure.

    Args:
      path: the file; an old one is replaced.
      append: continue an old file after the rows of iterations that the agent has done. Rows of later iterations, which
        resumed training repeats, are removed.
    """

    def __init__(self, path: str | os.PathLike[str], *, append: bool = False) -> None:
        super().__init__()
        self._path = Path(path)
        self._append = append
        self._columns: list[str] = []

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        rows, done = self._rows() if self._append else [], int(self.model.iterations.numpy())
        self._begin([row for row in rows if float(row["time/iterations"] or "nan") <= done])

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        row = dict(logs or {})
        if row.keys() <= set(self._columns):
            with open(self._path, "a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self._columns).writerow(row)
        else:
            self._begin([*self._rows(), row])

    def _rows(self) -> list[dict[str, str]]:
        if not self._path.exists():
            return []
        with open(self._path, newline="", encoding="utf-8") as file:
            # A process that was killed may have left an incomplete row.
            return [row for row in csv.DictReader(file) if None not in row.values()]

    def _begin(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Replace the file by one with the given rows."""
        self._columns = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO(newline="")
        if rows:
            writer = csv.DictWriter(text, self._columns)
            writer.writeheader()
            writer.writerows(rows)
        write_whole(self._path, text.getvalue())

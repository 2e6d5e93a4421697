"""Read histories of runs (history.csv), and interpolate curves of several runs at common steps."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.float64]
Curve = tuple[Column, Column]
"""Increasing x and y, [X] each."""
_LARGEST = 1e300


def read_history(path: Path, columns: Sequence[str] = ()) -> dict[str, Column]:
    """Read the columns of a history.csv.

    An unfinished last line is ignored: it is still being written, or its writer was killed.

    Args:
      path: the file.
      columns: names of required columns.

    Returns:
      Column name -> a number for each iteration, [iterations]; NaN in empty cells.

    Raises:
      OSError: the file cannot be read.
      ValueError: the file has no rows, lacks a required column, or has a row of another length than the header or a
        cell that is not a number.
    """
    with open(path, newline="", encoding="utf-8") as file:
        text = file.read()
    try:
        rows = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1], newline="")))
    except csv.Error as error:
        raise ValueError(f"{path} is not a CSV file: {error}") from None
    if len(rows) < 2:
        raise ValueError(f"{path} has no rows yet")
    names = rows[0]
    missing = [name for name in columns if name not in names]
    if missing:
        raise ValueError(f"{path} has no column {', '.join(missing)}; there are {', '.join(names)}")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(names):
            raise ValueError(f"{path} is not whole: line {number} has {len(row)} fields, not {len(names)}")
    try:
        table = np.array([[cell or "nan" for cell in row] for row in rows[1:]], np.float64)
    except ValueError as error:
        raise ValueError(f"{path} has a cell that is not a number: {error}") from None
    return dict(zip(names, table.T, strict=True))


def known(x: Column, y: Column) -> Curve:
    """Return the points that can be drawn: x and y are finite, and not so large that their sums overflow."""
    there = (np.abs(x) < _LARGEST) & (np.abs(y) < _LARGEST)
    return x[there], y[there]


def on_common_steps(curves: Sequence[Curve], points: int, *, axis: str = "steps") -> Curve:
    """Interpolate curves linearly at common x.

    Args:
      curves: S curves, each with at least one point.
      points: number of common x, >= 2, evenly spaced from the latest beginning to the earliest end of the curves.
      axis: name of x in the error message.

    Returns:
      x [points], and values [S, points].

    Raises:
      ValueError: one curve ends before another begins.
    """
    first, last = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    if first > last:
        raise ValueError(f"the runs have no {axis} in common: one ends at {last:g}, another begins at {first:g}")
    grid = np.linspace(first, last, points)
    return grid, np.stack([np.interp(grid, x, y) for x, y in curves])

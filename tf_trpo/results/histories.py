"""The history.csv of runs: read strictly, and brought onto common steps."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.float64]
Curve = tuple[Column, Column]
"""x, rising, and y; [X] each."""
_LARGEST = 1e300


def read_history(path: Path) -> dict[str, Column]:
    """The columns of a history.csv, a number for each iteration.

    Half a row at the end is left out: it is being written, or its writer was killed.

    Raises:
      OSError: the file cannot be read.
      ValueError: it has no rows, a row of another length than the header, or what is no number.
    """
    with open(path, newline="", encoding="utf-8") as file:
        text = file.read()
    try:
        rows = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1], newline="")))
    except csv.Error as error:
        raise ValueError(f"{path} is no CSV: {error}") from None
    if len(rows) < 2:
        raise ValueError(f"{path} has no rows yet")
    names = rows[0]
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(names):
            raise ValueError(f"{path} is not whole: line {number} has {len(row)} fields, not {len(names)}")
    try:
        table = np.array(rows[1:], np.float64)
    except ValueError as error:
        raise ValueError(f"{path} holds what is no number: {error}") from None
    return dict(zip(names, table.T, strict=True))


def known(x: Column, y: Column) -> Curve:
    """The points whose x and y are numbers that can be drawn: not NaN or infinite, nor so large that sums overflow."""
    there = (np.abs(x) < _LARGEST) & (np.abs(y) < _LARGEST)
    return x[there], y[there]


def on_common_steps(curves: Sequence[Curve], points: int, *, axis: str = "steps") -> Curve:
    """Curves as values [S, points] at the same x [points], linear between a curve's own points.

    Args:
      curves: S of them, each with at least one point.
      points: >= 2, evenly from where all curves have begun to where the first one ends.
      axis: what x counts, for the error.

    Raises:
      ValueError: there is no x at which all curves have begun and none has ended.
    """
    first, last = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    if first > last:
        raise ValueError(f"the runs have no {axis} in common: one ends at {last:g}, another begins at {first:g}")
    grid = np.linspace(first, last, points)
    return grid, np.stack([np.interp(grid, x, y) for x, y in curves])

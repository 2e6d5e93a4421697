"""Figures of the lecture, drawn from computed data only: one file for each, with `compute()` and `draw(data)`.

To add one: write the file, and add its line to `FIGURES`.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class FigureEntry(NamedTuple):
    """A figure in the list.

    Attributes:
      module: file of this package, and name of the written files.
      summary: what it shows, for --help.
      needs_tensorflow: whether computing it imports TensorFlow.
      needs_results: whether it draws learned results: `compute(results_dir)`.
    """

    module: str
    summary: str
    needs_tensorflow: bool = False
    needs_results: bool = False


FIGURES = {
    1: FigureEntry("natural_gradient", "vanilla and natural gradient of the linear-quadratic example"),
    2: FigureEntry("taylor_approximation", "Taylor polynomials of exp(-x^2) around 1"),
    3: FigureEntry("trust_region_method", "the trust-region loop with three solvers"),
    4: FigureEntry("conjugate_gradient", "conjugate gradient against steepest descent", needs_tensorflow=True),
    5: FigureEntry("lower_bound", "expected return, local approximation and lower bound between two policies"),
    6: FigureEntry(
        "learning_curves", "learning curves of the algorithms, and the KL of their updates", needs_results=True
    ),
}


def draw_figure(number: int, output_dir: Path, results_dir: Path) -> tuple[Path, Path]:
    """Compute and draw one figure of the list.

    Args:
      number: a key of `FIGURES`.
      output_dir: an existing folder.
      results_dir: folder of the tables that `benchmark learn` writes.

    Returns:
      The PNG and the SVG that were written.

    Raises:
      KeyError: there is no such figure.
      ImportError: matplotlib is not installed.
      OSError: the folder cannot be written to, or a table cannot be read.
      ValueError: a table is none.
    """
    entry = FIGURES[number]
    module = importlib.import_module(f"tf_trpo.figures.{entry.module}")
    style = importlib.import_module("tf_trpo.figures.style")
    compute = functools.partial(module.compute, results_dir) if entry.needs_results else module.compute
    return style.save(compute, module.draw, output_dir / f"{number}_{entry.module}")


def draw_figures(numbers: Sequence[int], output_dir: Path, results_dir: Path) -> list[Path]:
    """Draw several figures of the list; arguments and errors as in `draw_figure`."""
    return [path for number in numbers for path in draw_figure(number, output_dir, results_dir)]

"""Figures of the theory, drawn from computed data only: one file for each, with `compute()` and `draw(data)`.

To add one: write the file, and add its line to `FIGURES`.
"""

from __future__ import annotations

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
    """

    module: str
    summary: str
    needs_tensorflow: bool = False


FIGURES = {
    1: FigureEntry("natural_gradient", "vanilla and natural gradient of the linear-quadratic example"),
    2: FigureEntry("taylor_approximation", "Taylor polynomials of exp(-x^2) around 1"),
    3: FigureEntry("trust_region_method", "the trust-region loop with three solvers"),
    4: FigureEntry("conjugate_gradient", "conjugate gradient against steepest descent", needs_tensorflow=True),
    5: FigureEntry("lower_bound", "expected return, local approximation and lower bound between two policies"),
}


def draw_figure(number: int, output_dir: Path) -> tuple[Path, Path]:
    """Compute and draw one figure of the list.

    Args:
      number: a key of `FIGURES`.
      output_dir: an existing folder.

    Returns:
      The PNG and the SVG that were written.

    Raises:
      KeyError: there is no such figure.
      ImportError: matplotlib is not installed.
      OSError: the folder cannot be written to.
    """
    entry = FIGURES[number]
    module = importlib.import_module(f"tf_trpo.figures.{entry.module}")
    style = importlib.import_module("tf_trpo.figures.style")
    return style.save(module.compute, module.draw, output_dir / f"{number}_{entry.module}")


def draw_figures(numbers: Sequence[int], output_dir: Path) -> list[Path]:
    """Draw several figures of the list; arguments and errors as in `draw_figure`."""
    return [path for number in numbers for path in draw_figure(number, output_dir)]

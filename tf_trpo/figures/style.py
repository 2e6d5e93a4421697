"""The common style of all figures, and writing them as PNG or SVG with equal bytes for equal data."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tf_trpo.figures.statistics import Interval

# Okabe and Ito (2008): distinguishable with any kind of colour vision, and by lightness in print.
BLACK = "#000000"
ORANGE = "#E69F00"
GREEN = "#009E73"
BLUE = "#0072B2"
VERMILION = "#D55E00"
GREY = "#767676"
SKY = "#56B4E9"
PURPLE = "#CC79A7"
CYCLE = tuple(
    (color, style) for style in ("-", "--", ":") for color in (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, BLACK)
)
"""Colours and line styles of consecutive lines."""

SETTINGS: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.grid": False,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "legend.fontsize": 9,
    "legend.frameon": True,
    "legend.framealpha": 0.9,
    "legend.edgecolor": "none",
    "lines.linewidth": 1.8,
    "savefig.dpi": 120,
    # Without a fixed salt, the ids in an SVG file are random.
    "svg.hashsalt": "tf_trpo",
}


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Draw and write in the common style; the user's matplotlibrc has no effect."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(SETTINGS)
        yield


def write(figure: Figure, file: Path | BinaryIO, format: str | None = None) -> None:
    """Write a figure without a date, so that equal figures are equal files.

    Args:
      figure: a figure that was drawn inside `styled`; `write` must be called inside it too.
      file: path, or a file that is open for writing bytes.
      format: "png" or "svg"; by default the path's suffix.
    """
    format = format or Path(str(file)).suffix[1:]
    figure.savefig(file, format=format, metadata={"Date": None} if format == "svg" else None)


def draw_curve(
    axes: Axes, x: NDArray[np.float64], y: Interval, *, label: str, color: str, linestyle: Any = "-"
) -> None:
    """Draw a line at the estimate [X], and a band over its interval."""
    axes.plot(x, y.estimate, color=color, linestyle=linestyle, label=label)
    axes.fill_between(x, y.low, y.high, color=color, alpha=0.15, linewidth=0)

"""How every figure looks, and how it is written: PNG and SVG, the same bytes from the same data."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tf_trpo.results import Interval

# Okabe and Ito (2008): told apart by every kind of colour vision, and by lightness in print.
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
"""Colour and line style of one line after the other."""

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
    # Ids in the file come from the drawing alone: the same figure is the same file.
    "svg.hashsalt": "tf_trpo",
}


def save(compute: Callable[[], Any], draw: Callable[[Any], Figure], stem: Path) -> tuple[Path, Path]:
    """Compute the data, draw it in the common style, and write stem.png and stem.svg.

    Args:
      compute: -> data.
      draw: data -> figure.
      stem: path without ending, in an existing folder.

    Returns:
      The two paths.

    Raises:
      OSError: the files cannot be written.
    """
    data = compute()
    png, svg = stem.with_suffix(".png"), stem.with_suffix(".svg")
    with styled():
        figure = draw(data)
        write(figure, png)
        write(figure, svg)
    return png, svg


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Draw and write in the common style, whatever somebody's matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(SETTINGS)
        yield


def write(figure: Figure, file: Path | BinaryIO, format: str | None = None) -> None:
    """Write a figure; without a date, so that the same figure is the same bytes.

    Args:
      figure: drawn when `styled`, which has to go on.
      file: where to.
      format: "png" or "svg"; by default the path's ending.
    """
    format = format or Path(str(file)).suffix[1:]
    figure.savefig(file, format=format, metadata={"Date": None} if format == "svg" else None)


def draw_curve(
    axes: Axes, x: NDArray[np.float64], y: Interval, *, label: str, color: str, linestyle: Any = "-"
) -> None:
    """A line at the estimate, [X], and its interval as a band."""
    axes.plot(x, y.estimate, color=color, linestyle=linestyle, label=label)
    axes.fill_between(x, y.low, y.high, color=color, alpha=0.15, linewidth=0)


def draw_point(axes: Axes, x: float, y: Interval, *, color: str) -> None:
    """A dot at the estimate, a scalar, and its interval as a bar; whole even where it lies on the frame of the axes."""
    bar = [[y.estimate - y.low], [y.high - y.estimate]]
    axes.errorbar(x, y.estimate, bar, fmt="o", color=color, markersize=4, capsize=2, clip_on=False, zorder=3)

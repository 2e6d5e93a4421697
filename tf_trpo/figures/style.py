"""How every figure looks, and how it is written: PNG and SVG, the same bytes from the same data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

# Okabe and Ito (2008): told apart by every kind of colour vision, and by lightness in print.
BLACK = "#000000"
ORANGE = "#E69F00"
GREEN = "#009E73"
BLUE = "#0072B2"
VERMILION = "#D55E00"
GREY = "#767676"

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
    with mpl.rc_context():
        # Nobody's matplotlibrc decides how the figures look.
        mpl.rcdefaults()
        mpl.rcParams.update(SETTINGS)
        figure = draw(data)
        figure.savefig(png)
        figure.savefig(svg, metadata={"Date": None})
    return png, svg

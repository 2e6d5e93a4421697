"""Draw logged figures over training: learning curves of groups of runs, or the charts of a report on one run."""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from tf_trpo.figures.charts import CHARTS, STEPS
from tf_trpo.figures.histories import Column, known
from tf_trpo.figures.statistics import Interval
from tf_trpo.figures.style import CYCLE, GREY, draw_curve, styled, write

_FEW = 50
"""A chart's line with at most this many points, such as evaluations, also gets markers."""


class GroupCurve(NamedTuple):
    """A line of the figure: a statistic y [X] over the runs of a group, over x [X] in steps, iterations or seconds."""

    label: str
    runs: int
    x: Column
    y: Interval


def draw(groups: Sequence[GroupCurve], x_label: str, y_label: str) -> Figure:
    """Draw a line and a band for each group; there must be at least one group."""
    figure = Figure(figsize=(8.0, 4.8))
    axes = figure.subplots()
    for group, (color, style) in zip(groups, itertools.cycle(CYCLE), strict=False):
        label = literal(f"{group.label} ({count_of_runs(group.runs)})")
        draw_curve(axes, group.x, group.y, label=label, color=color, linestyle=style)
    axes.set(xlabel=x_label, ylabel=literal(y_label))
    axes.margins(x=0)
    axes.grid(axis="y", color=GREY, alpha=0.25)
    axes.legend()
    return figure


def draw_panels(history: Mapping[str, Column]) -> dict[str, bytes]:
    """Draw the charts of `CHARTS` for which the history has a column.

    Args:
      history: columns by name, including `STEPS`. The others depend on the algorithm and on the progress of the run.

    Returns:
      Title of a chart -> SVG file.
    """
    drawn = {}
    for title, columns in itertools.chain.from_iterable(charts.items() for charts in CHARTS.values()):
        if there := [column for column in columns if column in history]:
            with styled():
                file = io.BytesIO()
                write(draw_panel(title, there, history), file, "svg")
            drawn[title] = file.getvalue()
    return drawn


def draw_panel(title: str, columns: Sequence[str], history: Mapping[str, Column]) -> Figure:
    """Draw a line for each of the given columns of the history."""
    figure = Figure(figsize=(5.6, 3.0))
    axes = figure.subplots()
    for column, (color, style) in zip(columns, CYCLE, strict=False):
        x, y = known(history[STEPS], history[column])
        axes.plot(x, y, linestyle=style, color=color, label=column, marker="." if len(x) <= _FEW else "")
    axes.set(title=title, xlabel="environment steps")
    axes.grid(axis="y", color=GREY, alpha=0.25)
    axes.legend()
    return figure


def count_of_runs(*counts: int) -> str:
    """Return text such as "5 runs", or "3 to 5 runs" if counts differ."""
    low, high = min(counts), max(counts)
    several = str(low) if low == high else f"{low} to {high}"
    return "1 run" if several == "1" else f"{several} runs"


def literal(text: str) -> str:
    """Escape dollar signs, which matplotlib reads as math mode."""
    return text.replace("$", r"\$")

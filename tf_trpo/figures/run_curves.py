"""One logged figure over training, for groups of runs that differ in their seed only."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from tf_trpo.figures.histories import Column
from tf_trpo.figures.statistics import Interval
from tf_trpo.figures.style import CYCLE, GREY, draw_curve


class GroupCurve(NamedTuple):
    """A line of the figure.

    Attributes:
      label: name of the group.
      runs: number of runs.
      x: steps, iterations or seconds, [X].
      y: statistic over the runs and its interval, [X].
    """

    label: str
    runs: int
    x: Column
    y: Interval


class Curves(NamedTuple):
    """Content of the figure.

    Attributes:
      groups: at least one group.
      x_label: label of the x axis, with its unit.
      y_label: label of the y axis, with the statistic.
    """

    groups: Sequence[GroupCurve]
    x_label: str
    y_label: str


def draw(data: Curves) -> Figure:
    """Draw a line and a band for each group."""
    figure = Figure(figsize=(8.0, 4.8))
    axes = figure.subplots()
    for group, (color, style) in zip(data.groups, itertools.cycle(CYCLE), strict=False):
        label = literal(f"{group.label} ({count_of_runs(group.runs)})")
        draw_curve(axes, group.x, group.y, label=label, color=color, linestyle=style)
    axes.set(xlabel=data.x_label, ylabel=literal(data.y_label))
    axes.margins(x=0)
    axes.grid(axis="y", color=GREY, alpha=0.25)
    axes.legend()
    return figure


def count_of_runs(*counts: int) -> str:
    """Say the number of runs behind a line, or the smallest and the largest number of several lines."""
    low, high = min(counts), max(counts)
    several = str(low) if low == high else f"{low} to {high}"
    return "1 run" if several == "1" else f"{several} runs"


def literal(text: str) -> str:
    """Escape text for matplotlib, which takes dollars for marks of mathematics."""
    return text.replace("$", r"\$")

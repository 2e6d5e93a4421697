"""The panels of a report on one run, each as an SVG."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tf_trpo.figures.histories import Column, known
from tf_trpo.figures.style import BLUE, GREEN, GREY, ORANGE, VERMILION, styled, write

STEPS = "time/total_timesteps"
_ACCEPTED = "train/is_line_search_success"


class Line(NamedTuple):
    """A line of a panel: a column of history.csv, and the line's look."""

    column: str
    label: str
    color: str = BLUE
    style: str = "-"


class Panel(NamedTuple):
    """A panel: its title, unit and lines, and whether refused steps are marked."""

    title: str
    unit: str
    lines: tuple[Line, ...]
    marks_refusals: bool = False


PANELS = (
    Panel(
        "Return",
        "return of an episode",
        (
            Line("rollout/ep_rew_mean", "training: last 100 episodes"),
            Line("eval/mean_reward", "evaluation", VERMILION, "o-"),
        ),
    ),
    Panel(
        "KL of the step and its limit",
        "nats",
        (
            Line("train/kl_divergence_loss", "mean KL(old || new)"),
            Line("train/trust_region_radius", "limit", GREY, "--"),
        ),
    ),
    Panel("Line search", "backtracks", (Line("train/backtracks", "backtracks"),), marks_refusals=True),
    Panel(
        "Improvement of the surrogate",
        "L(new) - L(old)",
        (
            Line("train/predicted_improvement", "predicted", ORANGE, "--"),
            Line("train/actual_improvement", "actual", BLUE),
        ),
    ),
    Panel("Explained variance", "of the value targets", (Line("train/explained_variance", "explained variance"),)),
    Panel(
        "Entropy and standard deviation",
        "nats; half-ranges",
        (
            Line("train/entropy", "entropy"),
            Line("train/std", "standard deviation", GREEN, "--"),
        ),
    ),
    Panel("Value function", "loss", (Line("train/value_loss", "value loss"),)),
    Panel("Speed", "steps per second", (Line("time/fps", "since the beginning"),)),
)


def draw_panels(history: Mapping[str, Column]) -> dict[str, bytes]:
    """Draw the panels of which the history has a column.

    Args:
      history: columns by name, `STEPS` among them. Which others there are depends on the algorithm and on how far the
        run has come.

    Returns:
      SVG files by the titles of their panels.
    """
    drawn = {}
    for panel in PANELS:
        if not any(line.column in history for line in panel.lines):
            continue
        with styled():
            file = io.BytesIO()
            write(draw_panel(panel, history), file, "svg")
        drawn[panel.title] = file.getvalue()
    return drawn


def draw_panel(panel: Panel, history: Mapping[str, Column]) -> Figure:
    """Draw a panel."""
    figure = Figure(figsize=(5.6, 3.0))
    axes = figure.subplots()
    for line in panel.lines:
        if line.column in history:
            x, y = known(history[STEPS], history[line.column])
            axes.plot(x, y, line.style, color=line.color, label=line.label, markersize=4)
    if panel.marks_refusals and _ACCEPTED in history:
        _mark_refusals(axes, history)
    axes.set(title=panel.title, xlabel="environment steps", ylabel=panel.unit)
    axes.grid(axis="y", color=GREY, alpha=0.25)
    if len(axes.lines) > 1:
        axes.legend()
    return figure


def _mark_refusals(axes: Axes, history: Mapping[str, Column]) -> None:
    refused = history[_ACCEPTED] == 0
    x, heights = known(history[STEPS][refused], history["train/backtracks"][refused])
    axes.plot(x, heights, "x", color=VERMILION, label=f"step refused ({refused.sum()})")

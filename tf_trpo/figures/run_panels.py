"""The figures of one run, each as an SVG: what the report shows."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tf_trpo.figures.style import BLUE, GREEN, GREY, ORANGE, VERMILION, styled, write
from tf_trpo.results import Column, known

STEPS = "time/total_timesteps"


class Line(NamedTuple):
    """A line of a panel: the column of history.csv, and how it looks."""

    column: str
    label: str
    color: str = BLUE
    style: str = "-"
    optional: bool = False


class Panel(NamedTuple):
    """A panel: its title, its unit, its lines; where a step was refused it may have a mark."""

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
            Line("eval/mean_reward", "evaluation", VERMILION, "o-", optional=True),
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
        "nats; action units",
        (
            Line("train/entropy", "entropy"),
            Line("train/std", "standard deviation", GREEN, "--", optional=True),
        ),
    ),
    Panel("Value function", "loss", (Line("train/value_loss", "value loss"),)),
    Panel("Speed", "steps per second", (Line("time/fps", "since the beginning"),)),
)


def missing_columns(history: Mapping[str, Column]) -> list[str]:
    """Columns that the panels need and the history lacks."""
    needed = [line.column for panel in PANELS for line in panel.lines if not line.optional]
    return [column for column in (STEPS, "train/is_line_search_success", *needed) if column not in history]


def draw_panels(history: Mapping[str, Column]) -> dict[str, bytes]:
    """SVG files by title, for a history that has all `missing_columns` asks for."""
    drawn = {}
    for panel in PANELS:
        with styled():
            file = io.BytesIO()
            write(draw_panel(panel, history), file, "svg")
        drawn[panel.title] = file.getvalue()
    return drawn


def draw_panel(panel: Panel, history: Mapping[str, Column]) -> Figure:
    """One panel."""
    figure = Figure(figsize=(5.6, 3.0))
    axes = figure.subplots()
    for line in panel.lines:
        if line.column in history:
            x, y = known(history[STEPS], history[line.column])
            axes.plot(x, y, line.style, color=line.color, label=line.label, markersize=4)
    if panel.marks_refusals:
        _mark_refusals(axes, history)
    axes.set(title=panel.title, xlabel="environment steps", ylabel=panel.unit)
    axes.grid(axis="y", color=GREY, alpha=0.25)
    if len(axes.lines) > 1:
        axes.legend()
    return figure


def _mark_refusals(axes: Axes, history: Mapping[str, Column]) -> None:
    refused = history["train/is_line_search_success"] == 0
    x, heights = known(history[STEPS][refused], history["train/backtracks"][refused])
    axes.plot(x, heights, "x", color=VERMILION, label=f"step refused ({refused.sum()})")

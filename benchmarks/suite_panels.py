"""`plot`: draw learning curves and final evaluations of a suite and of peers, a panel for each environment."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.documents import PEERS, RESULTS
from benchmarks.tables import CurvePoint, PublishedResult, RunResult, by_settings, on_windows, read_table
from tf_trpo.figures.run_curves import GroupCurve, count_of_runs, literal
from tf_trpo.figures.statistics import Interval, interquartile_mean
from tf_trpo.figures.style import CYCLE, GREY, draw_curve, styled, write

COLUMNS = 3
LEVEL_STYLES = ((0, (6, 2)), (0, (2, 2)), (0, (6, 2, 1, 2)), (0, (1, 3)))
"""Line styles of published results, by the order of their sources."""
Y_LABEL = "return of the last 100\ntraining episodes (sampled)"
LEGEND = (
    "interquartile mean over seeds, 95% bootstrap interval; actions sampled. "
    "Lines: training episodes, without those that\n"
    "restart_every cut. Dots: evaluation after training, ours of the policy that is exported, which may be an average"
)


@dataclasses.dataclass(frozen=True)
class Plot:
    """Draw the learning curves of a suite and of other programs, with a panel for each environment."""

    suite: str = "mujoco"
    """Name of the suite; its tables are in RESULTS_DIR/SUITE, those of other programs in RESULTS_DIR/peers."""
    results_dir: Path = RESULTS
    """Folder of the tables."""
    output: Path | None = None
    """The figure, PNG or SVG by its suffix; by default RESULTS_DIR/SUITE.png."""

    def run(self) -> None:
        """Draw, and print the path of the file."""
        ours, peers = (
            Runs(read_table(folder / "curves.csv", CurvePoint), read_table(folder / "results.csv", RunResult))
            for folder in (self.results_dir / self.suite, self.results_dir / PEERS.name)
        )
        published = read_table(self.results_dir / PEERS.name / "published.csv", PublishedResult)
        output = self.output or self.results_dir / f"{self.suite}.png"
        with styled():
            write(draw(compute(ours, peers, published)), output)
        print(output)


class Runs(NamedTuple):
    """Points of learning curves, and final evaluations of the same runs."""

    points: Sequence[CurvePoint]
    results: Sequence[RunResult]


class Final(NamedTuple):
    """Evaluations after training: label of the group, environment steps, returns with sampled actions."""

    label: str
    steps: int
    returns: Interval


class Panel(NamedTuple):
    """One environment.

    Attributes:
      env: Gymnasium id.
      groups: our curves, then the peers'.
      levels: published results, by source.
      finals: evaluations of both; each is drawn in the colour of its curve, and left out if there is no curve.
    """

    env: str
    groups: list[GroupCurve]
    levels: dict[str, float]
    finals: list[Final]


def compute(runs: Runs, peers: Runs, published: Sequence[PublishedResult]) -> list[Panel]:
    """Compute a panel for each environment of our points, in the order of their names.

    Args:
      runs: our runs, with at least one point.
      peers: runs of other programs; their curves are cut at the end of ours.
      published: published results. Of each source, the first TRPO result for the same task is drawn, for any version of
        the environment, if its steps are not more than ours.
    """
    ours = by_settings(runs.points)
    panels = []
    for env in dict.fromkeys(env for env, _ in ours):
        last = max(point.steps for point in runs.points if point.env == env)
        theirs = by_settings(point for point in peers.points if point.env == env and point.steps <= last)
        groups = [_curve(f"ours, {name}", of) for (of_env, name), of in ours.items() if of_env == env]
        groups += [_curve(name, of) for (_, name), of in theirs.items()]
        levels: dict[str, float] = {}
        for figure in published:
            if figure.algorithm == "TRPO" and _task(figure.env) == _task(env) and figure.steps <= last:
                levels.setdefault(figure.source, figure.mean)
        results = [(f"ours, {result.name}", result) for result in runs.results if result.env == env]
        results += [(result.name, result) for result in peers.results if result.env == env and result.steps <= last]
        panels.append(Panel(env, groups, levels, _finals(results)))
    return panels


def _curve(label: str, points: Sequence[CurvePoint]) -> GroupCurve:
    steps, returns = on_windows(points, "mean_return")
    return GroupCurve(label, len(returns), steps, interquartile_mean(returns))


def _finals(labelled: Sequence[tuple[str, RunResult]]) -> list[Final]:
    returns: dict[tuple[str, int], list[float]] = {}
    for label, result in labelled:
        returns.setdefault((label, result.steps), []).append(result.stochastic)
    return [Final(label, steps, interquartile_mean(of)) for (label, steps), of in returns.items()]


def _task(env: str) -> str:
    """Return an environment's name without its version."""
    name, _, version = env.rpartition("-v")
    return name if version.isdecimal() else env


def draw(panels: Sequence[Panel]) -> Figure:
    """Draw panels (at least one) in rows of three, with one legend below."""
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(max(7.0, 4.0 * columns), 0.9 + 2.9 * rows))
    grid = figure.subplots(rows, columns, squeeze=False)
    groups = dict.fromkeys(group.label for panel in panels for group in panel.groups)
    looks = dict(zip(groups, itertools.cycle(CYCLE), strict=False))
    sources = dict.fromkeys(source for panel in panels for source in panel.levels)
    styles = dict(zip(sources, itertools.cycle(LEVEL_STYLES), strict=False))
    for axes, panel in itertools.zip_longest(grid.flat, panels):
        if panel is None:
            axes.remove()
        else:
            _draw_panel(axes, panel, looks, styles)
    for axes in grid[:, 0]:
        axes.set_ylabel(Y_LABEL)
    for number, axes in enumerate(grid.flat[: len(panels)]):
        if number + columns >= len(panels):
            axes.set_xlabel("environment steps, thousands")
    _legend(figure, panels)
    return figure


def _draw_panel(axes: Axes, panel: Panel, looks: Mapping[str, tuple], styles: Mapping[str, tuple]) -> None:
    for source, level in panel.levels.items():
        axes.axhline(level, color=GREY, linestyle=styles[source], linewidth=1.2, label=source)
    for group in panel.groups:
        color, style = looks[group.label]
        draw_curve(axes, group.x / 1000, group.y, label=group.label, color=color, linestyle=style)
    for final in panel.finals:
        if final.label in looks:
            _draw_point(axes, final.steps / 1000, final.returns, color=looks[final.label][0])
    axes.set_title(literal(panel.env))
    axes.set_xlim(0, max(float(np.max(group.x)) for group in panel.groups) / 1000)
    axes.grid(axis="y", color=GREY, alpha=0.25)


def _draw_point(axes: Axes, x: float, y: Interval, *, color: str) -> None:
    """Draw a dot at the estimate, a scalar, and a bar over its interval, not clipped by the axes."""
    bar = [[y.estimate - y.low], [y.high - y.estimate]]
    axes.errorbar(x, y.estimate, bar, fmt="o", color=color, markersize=4, capsize=2, clip_on=False, zorder=3)


def _legend(figure: Figure, panels: Sequence[Panel]) -> None:
    handles: dict[str, Artist] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    runs: dict[str, list[int]] = {}
    for group in (group for panel in panels for group in panel.groups):
        runs.setdefault(group.label, []).append(group.runs)
    curves = {label: f"{label} ({count_of_runs(*counts)})" for label, counts in runs.items()}
    published = {label: f"published: {label}" for label in handles if label not in runs}
    labels = curves | published
    figure.legend(
        [handles[label] for label in labels],
        [literal(text) for text in labels.values()],
        loc="outside lower center",
        ncols=min(len(labels), COLUMNS),
        title=LEGEND,
    )

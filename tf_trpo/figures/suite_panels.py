"""The learning curves and final evaluations of a suite beside those of others: a panel for each environment."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tf_trpo.figures.run_curves import GroupCurve, count_of_runs, literal
from tf_trpo.figures.style import CYCLE, GREY, draw_curve, draw_point
from tf_trpo.results import Column, CurvePoint, Interval, PublishedResult, RunResult, by_settings, on_windows

COLUMNS = 3
LEVEL_STYLES = ((0, (6, 2)), (0, (2, 2)), (0, (6, 2, 1, 2)), (0, (1, 3)))
"""Line styles of published figures, one source after the other."""
Y_LABEL = "return of the last 100\ntraining episodes (sampled)"
LEGEND = (
    "{statistic} over seeds, 95% bootstrap interval; actions sampled. Lines: training episodes, without those that\n"
    "restart_every cut. Dots: evaluation after training, ours of the policy that is exported, which may be an average"
)


class Runs(NamedTuple):
    """Points of learning curves, and the final evaluations of the same runs."""

    points: Sequence[CurvePoint]
    results: Sequence[RunResult]


class Final(NamedTuple):
    """Evaluations after training: the group's label, after how many steps, and the return of sampled actions."""

    label: str
    steps: int
    returns: Interval


class Panel(NamedTuple):
    """One environment.

    Attributes:
      env: its id.
      groups: our curves and others', by what they are labelled with.
      levels: published figures, by source.
      finals: evaluations of both, drawn in the colour of their curve: those without one are not.
    """

    env: str
    groups: list[GroupCurve]
    levels: dict[str, float]
    finals: list[Final]


def compute(
    runs: Runs, peers: Runs, published: Sequence[PublishedResult], statistic: Callable[[Column], Interval]
) -> list[Panel]:
    """A panel for each environment that we have points of, in the order of their names.

    Args:
      runs: ours, with one point at least.
      peers: others'; what they have is drawn as far as our curves go.
      published: of those of TRPO, the first one of each source for the same task is drawn, whatever the version of
        the environment; after no more steps than ours.
      statistic: over seeds, [S, X] -> [X].
    """
    ours = by_settings(runs.points)
    panels = []
    for env in dict.fromkeys(env for env, _ in ours):
        last = max(point.steps for point in runs.points if point.env == env)
        theirs = by_settings(point for point in peers.points if point.env == env and point.steps <= last)
        groups = [_curve(f"ours, {name}", of, statistic) for (of_env, name), of in ours.items() if of_env == env]
        groups += [_curve(name, of, statistic) for (_, name), of in theirs.items()]
        levels: dict[str, float] = {}
        for figure in published:
            if figure.algorithm == "TRPO" and _task(figure.env) == _task(env) and figure.steps <= last:
                levels.setdefault(figure.source, figure.mean)
        results = [(f"ours, {result.name}", result) for result in runs.results if result.env == env]
        results += [(result.name, result) for result in peers.results if result.env == env and result.steps <= last]
        panels.append(Panel(env, groups, levels, _finals(results, statistic)))
    return panels


def _curve(label: str, points: Sequence[CurvePoint], statistic: Callable[[Column], Interval]) -> GroupCurve:
    steps, returns = on_windows(points, "mean_return")
    return GroupCurve(label, len(returns), steps, statistic(returns))


def _finals(labelled: Sequence[tuple[str, RunResult]], statistic: Callable[[Column], Interval]) -> list[Final]:
    returns: dict[tuple[str, int], list[float]] = {}
    for label, result in labelled:
        returns.setdefault((label, result.steps), []).append(result.stochastic)
    return [Final(label, steps, statistic(np.array(of))) for (label, steps), of in returns.items()]


def _task(env: str) -> str:
    """An environment's name without its version."""
    name, _, version = env.rpartition("-v")
    return name if version.isdecimal() else env


def draw(panels: Sequence[Panel], statistic: str) -> Figure:
    """Panels in rows of three, one legend for all below them.

    Args:
      panels: at least one.
      statistic: over seeds, by name.
    """
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
    _legend(figure, panels, LEGEND.format(statistic=statistic))
    return figure


def _draw_panel(axes: Axes, panel: Panel, looks: Mapping[str, tuple], styles: Mapping[str, tuple]) -> None:
    for source, level in panel.levels.items():
        axes.axhline(level, color=GREY, linestyle=styles[source], linewidth=1.2, label=source)
    for group in panel.groups:
        color, style = looks[group.label]
        draw_curve(axes, group.x / 1000, group.y, label=group.label, color=color, linestyle=style)
    for final in panel.finals:
        if final.label in looks:
            draw_point(axes, final.steps / 1000, final.returns, color=looks[final.label][0])
    axes.set_title(literal(panel.env))
    axes.set_xlim(0, max(float(np.max(group.x)) for group in panel.groups) / 1000)
    axes.grid(axis="y", color=GREY, alpha=0.25)


def _legend(figure: Figure, panels: Sequence[Panel], title: str) -> None:
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
        title=title,
    )

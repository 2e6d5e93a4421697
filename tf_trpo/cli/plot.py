"""`plot`: learning curves of several runs, or a report of one run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from tf_trpo.cli.parsing import parse
from tf_trpo.cli.run_groups import RunGroup, group_runs
from tf_trpo.experiment import RunFolder
from tf_trpo.files import write_whole

if TYPE_CHECKING:
    from tf_trpo.figures.histories import Curve
    from tf_trpo.figures.run_curves import GroupCurve

POINTS = 200
"""Points of a curve."""
STATISTICS = {"iqm": "interquartile mean", "mean": "mean"}
X_AXES = {
    "steps": ("time/total_timesteps", "environment steps"),
    "iterations": ("time/iterations", "iterations"),
    "seconds": ("time/time_elapsed", "seconds of training"),
}


@dataclasses.dataclass(frozen=True)
class PlotOptions:
    """Draw learning curves of runs: a line for each group of runs that differ in their seed only.

    The band is the 95% bootstrap interval over the runs of a group. --report writes about one run instead.
    """

    run_dirs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Folders of runs, as train writes them."""
    metric: str = "rollout/ep_rew_mean"
    """Column of history.csv."""
    x: Literal["steps", "iterations", "seconds"] = "steps"
    """The x axis."""
    statistic: Literal["iqm", "mean"] = "iqm"
    """Over the runs of a group: interquartile mean, or mean."""
    group_by: tuple[str, ...] = ()
    """Settings that the runs of a group have in common; by default all that a result depends on, but for the seed."""
    output: Path = Path("curves.png")
    """The figure: PNG or SVG, by its ending."""
    report: Path | None = None
    """Write a report of one run instead: an HTML file that needs neither server nor network."""


def main(argv: Sequence[str]) -> None:
    """Read options, draw or report, print the file."""
    options = parse(PlotOptions, argv, "plot")
    print(_draw(options) if options.report is None else _report(options, options.report))


def _draw(options: PlotOptions) -> Path:
    if options.output.suffix not in (".png", ".svg"):
        raise ValueError(f"{options.output} must end in .png or .svg")
    if not options.run_dirs:
        raise ValueError("plot needs the folder of a run, or of several")
    from tf_trpo.figures.run_curves import Curves, draw
    from tf_trpo.figures.style import styled, write

    groups = group_runs(options.run_dirs, options.group_by)
    several = any(len(group.runs) > 1 for group in groups)
    y_label = f"{options.metric}\n({STATISTICS[options.statistic]}, 95% interval)" if several else options.metric
    with styled():
        figure = draw(Curves([_curve(group, options) for group in groups], X_AXES[options.x][1], y_label))
        options.output.parent.mkdir(parents=True, exist_ok=True)
        write(figure, options.output)
    return options.output


def _curve(group: RunGroup, options: PlotOptions) -> GroupCurve:
    from tf_trpo.figures.histories import on_common_steps
    from tf_trpo.figures.run_curves import GroupCurve
    from tf_trpo.figures.statistics import interquartile_mean, mean

    curves = [_curve_of(run, options) for run in group.runs]
    try:
        x, values = on_common_steps(curves, POINTS, axis=options.x)
    except ValueError as error:
        hint = "" if options.x == "steps" else "; --x steps compares runs of any speed"
        raise ValueError(f"{group.label}: {error}{hint}") from None
    statistic = interquartile_mean if options.statistic == "iqm" else mean
    return GroupCurve(group.label, len(group.runs), x, statistic(values))


def _curve_of(run: RunFolder, options: PlotOptions) -> Curve:
    from tf_trpo.figures.histories import known, read_history

    column = X_AXES[options.x][0]
    history = read_history(run.history, [column, options.metric])
    x, y = known(history[column], history[options.metric])
    if not len(x):
        raise ValueError(f"{run.history} has no value of {options.metric} yet")
    return x, y


def _report(options: PlotOptions, path: Path) -> Path:
    if len(options.run_dirs) != 1:
        raise ValueError(f"a report is of one run, not of {len(options.run_dirs)}")
    from tf_trpo.cli.report import report

    text = report(RunFolder(options.run_dirs[0]))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)
    return path

"""`plot`: draw learning curves of several runs, or write a report of one run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tf_trpo.cli.parsing import Positional, parse
from tf_trpo.experiment import RunFolder
from tf_trpo.experiment.settings import ENDS_OF_SCHEDULES, hyperparameters
from tf_trpo.files import write_whole
from tf_trpo.messages import say

if TYPE_CHECKING:
    from tf_trpo.figures.histories import Curve
    from tf_trpo.figures.run_curves import GroupCurve

POINTS = 200
"""Number of points of a curve."""
STATISTICS = {"iqm": "interquartile mean", "mean": "mean"}
X_AXES = {
    "steps": ("time/total_timesteps", "environment steps"),
    "iterations": ("time/iterations", "iterations"),
    "seconds": ("time/time_elapsed", "seconds of training"),
}
_NOT_COMPARED = ("seed", "total_steps", "schedule_steps")
"""Settings in which the runs of a group may differ: without a schedule, a longer run begins like a shorter one."""
_SPEAK_FOR_THEMSELVES = ("env", "algorithm")
_NEARLY = 0.95
"""Runs of equal length end within this share of each other, since iterations are trained to their ends."""


@dataclasses.dataclass(frozen=True)
class PlotOptions:
    """Draw learning curves: one line for each group of runs that differ only in their seed or length.

    A line ends where the shortest run of its group ends. The band is the 95% bootstrap interval over the runs of a
    group. --report writes a report of one run instead.
    """

    run_dirs: Positional[tuple[Path, ...]] = ()
    """Folders of runs, as train writes them."""
    metric: str = "rollout/ep_rew_mean"
    """Column of history.csv."""
    x: Literal["steps", "iterations", "seconds"] = "steps"
    """The x axis."""
    statistic: Literal["iqm", "mean"] = "iqm"
    """Average over the runs of a group: interquartile mean, or mean."""
    group_by: tuple[str, ...] = ()
    """Settings that are equal in the runs of a group; by default all that affect results, except the seed and, in
    runs without a schedule, total_steps."""
    output: Path = Path("curves.png")
    """File of the figure, .png or .svg."""
    report: Path | None = None
    """Write a report of one run to this file instead: HTML that needs neither a server nor a network."""


def main(argv: Sequence[str]) -> None:
    """Draw curves or write a report, and print the path of the file."""
    options = parse(PlotOptions, argv, "plot")
    print(_draw(options) if options.report is None else _report(options, options.report))


def _draw(options: PlotOptions) -> Path:
    if options.output.suffix not in (".png", ".svg"):
        raise ValueError(f"{options.output} must end in .png or .svg")
    if not options.run_dirs:
        # --group-by takes all that follows it.
        where = ": name the folders before --group-by" if options.group_by else ""
        raise ValueError(f"plot needs the folder of a run, or of several{where}")
    from tf_trpo.figures.run_curves import draw
    from tf_trpo.figures.style import styled, write

    groups = group_runs(options.run_dirs, options.group_by)
    several = any(len(runs) > 1 for _, runs in groups)
    y_label = f"{options.metric}\n({STATISTICS[options.statistic]}, 95% interval)" if several else options.metric
    with styled():
        figure = draw([_curve(label, runs, options) for label, runs in groups], X_AXES[options.x][1], y_label)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        write(figure, options.output)
    return options.output


def _curve(label: str, runs: list[RunFolder], options: PlotOptions) -> GroupCurve:
    from tf_trpo.figures.histories import on_common_steps
    from tf_trpo.figures.run_curves import GroupCurve
    from tf_trpo.figures.statistics import interquartile_mean, mean

    curves = [_curve_of(run, options) for run in runs]
    try:
        x, values = on_common_steps(curves, POINTS, axis=options.x)
    except ValueError as error:
        hint = "" if options.x == "steps" else "; --x steps compares runs of any speed"
        raise ValueError(f"{label}: {error}{hint}") from None
    _say_what_is_cut(label, {run.path: float(run_x[-1]) for run, (run_x, _) in zip(runs, curves, strict=True)}, options)
    statistic = interquartile_mean if options.statistic == "iqm" else mean
    return GroupCurve(label, len(runs), x, statistic(values))


def _say_what_is_cut(label: str, ends: Mapping[Path, float], options: PlotOptions) -> None:
    """Print a line if a clearly shorter run ends the line of a group; `ends` has the last x of each run."""
    shortest, longest = min(ends, key=ends.__getitem__), max(ends.values())
    if ends[shortest] < _NEARLY * longest:
        unit = X_AXES[options.x][1]
        say(f"{label}: the line ends at {ends[shortest]:g} of {longest:g} {unit}, with its shortest run, {shortest}")


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


def group_runs(run_dirs: Sequence[Path], group_by: Sequence[str] = ()) -> list[tuple[str, list[RunFolder]]]:
    """Group runs with equal settings; groups are in the order of their first runs.

    Args:
      run_dirs: folders of runs, at least one.
      group_by: settings that are equal in the runs of a group; by default all that affect results, except the seed
        and, in runs without a schedule, the number of steps.

    Returns:
      The label and the runs of each group. Labels name the settings in which the groups differ; the label of a single
      group is its environment and algorithm.

    Raises:
      ValueError: a folder holds no run or is named twice, or a setting does not exist.
    """
    compared: list[dict[str, Any]] = []
    groups: list[list[RunFolder]] = []
    for number, path in enumerate(run_dirs):
        if path.resolve() in [other.resolve() for other in run_dirs[:number]]:
            raise ValueError(f"{path} is named twice")
        run = RunFolder(path)
        settings = _compared(run, group_by)
        if settings not in compared:
            compared.append(settings)
            groups.append([])
        groups[compared.index(settings)].append(run)
    return list(zip(_labels(compared), groups, strict=True))


def _compared(run: RunFolder, group_by: Sequence[str]) -> dict[str, Any]:
    settings = run.read_config()["settings"]
    unknown = [name for name in group_by if name not in settings]
    if unknown:
        raise ValueError(f"{run.config} has no setting {', '.join(unknown)}")
    if group_by:
        return {name: settings[name] for name in group_by}
    found = {name: value for name, value in hyperparameters(settings).items() if name not in _NOT_COMPARED}
    if any(found.get(name) is not None for name in ENDS_OF_SCHEDULES):
        found["schedule_steps"] = settings.get("schedule_steps") or settings.get("total_steps")
    return found


def _labels(groups: Sequence[dict[str, Any]]) -> list[str]:
    """Return labels with the settings in which groups differ.

    A setting that only some algorithms have is used only if its values differ, or if labels would be equal without it.
    """
    names = list(dict.fromkeys(name for settings in groups for name in settings))
    if len(groups) == 1:
        differing = [name for name in _SPEAK_FOR_THEMSELVES if name in names] or names
        return [_label(groups[0], differing)]
    values = {name: {str(settings.get(name)) for settings in groups} for name in names}
    labels = [_label(settings, [name for name in names if len(values[name] - {"None"}) > 1]) for settings in groups]
    if len(set(labels)) < len(groups):
        labels = [_label(settings, [name for name in names if len(values[name]) > 1]) for settings in groups]
    return labels


def _label(settings: dict[str, Any], names: Sequence[str]) -> str:
    parts = []
    for name in names:
        value = settings.get(name)
        if value is not None:
            text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
            parts.append(text if name in _SPEAK_FOR_THEMSELVES else f"{name} {text}")
    return ", ".join(parts) or "others"

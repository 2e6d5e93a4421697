"""`plot`: learning curves of several runs, or a report of one run."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from tf_trpo.cli.errors import UsageError, one_line_errors
from tf_trpo.cli.parsing import parse
from tf_trpo.cli.run_folder import RunFolder
from tf_trpo.cli.run_groups import RunGroup, group_runs

if TYPE_CHECKING:
    from tf_trpo.figures.histories import Column, Curve
    from tf_trpo.figures.run_curves import GroupCurve
    from tf_trpo.figures.statistics import Interval

POINTS = 200
"""Of a curve."""
X_AXES = {
    "steps": ("time/total_timesteps", "environment steps"),
    "iterations": ("time/iterations", "iterations"),
    "seconds": ("time/time_elapsed", "seconds of training"),
}


@dataclasses.dataclass(frozen=True)
class PlotSettings:
    """Draw learning curves of runs: a line for each group of runs that differ in their seed only.

    The band is the 95% bootstrap interval over the runs of a group. --report is about one run instead.
    """

    run_dirs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of runs, as train writes them."""
    metric: str = "rollout/ep_rew_mean"
    """Column of history.csv."""
    x: Literal["steps", "iterations", "seconds"] = "steps"
    """What the curves are over."""
    statistic: Literal["iqm", "mean"] = "iqm"
    """Over the runs of a group: interquartile mean, or mean."""
    group_by: tuple[str, ...] = ()
    """Settings that the runs of a group have in common; by default all that a result depends on, but for the seed."""
    output: Path = Path("curves.png")
    """The figure: PNG or SVG, by its ending."""
    report: Path | None = None
    """Write a report of one run instead: an HTML file that needs neither server nor network."""


def main(argv: Sequence[str]) -> None:
    """Parse options, draw or report, print the file."""
    with one_line_errors():
        settings: PlotSettings = parse(PlotSettings, argv, "plot")
        print(_curves(settings) if settings.report is None else _report(settings, settings.report))


def _curves(settings: PlotSettings) -> Path:
    if settings.output.suffix not in (".png", ".svg"):
        raise UsageError(f"{settings.output} must end in .png or .svg")
    _check_installed("matplotlib")
    from tf_trpo.figures.style import styled, write

    with styled():
        figure = _groups(settings)
        with _writing(settings.output):
            write(figure, settings.output)
    return settings.output


def _statistic(settings: PlotSettings) -> tuple[Callable[[Column], Interval], str]:
    from tf_trpo.figures.statistics import interquartile_mean, mean

    return {"iqm": (interquartile_mean, "interquartile mean"), "mean": (mean, "mean")}[settings.statistic]


def _groups(settings: PlotSettings) -> Any:
    if not settings.run_dirs:
        raise UsageError("plot needs the folder of a run, or of several")
    groups = group_runs(settings.run_dirs, settings.group_by)
    from tf_trpo.figures.run_curves import Curves, draw

    several = any(len(group.runs) > 1 for group in groups)
    y_label = f"{settings.metric}\n({_statistic(settings)[1]}, 95% interval)" if several else settings.metric
    return draw(Curves([_curve(group, settings) for group in groups], X_AXES[settings.x][1], y_label))


def _curve(group: RunGroup, settings: PlotSettings) -> GroupCurve:
    from tf_trpo.figures.histories import on_common_steps
    from tf_trpo.figures.run_curves import GroupCurve

    curves = [_curve_of(run, settings) for run in group.runs]
    try:
        x, values = on_common_steps(curves, POINTS, axis=settings.x)
    except ValueError as error:
        hint = "" if settings.x == "steps" else "; --x steps compares runs of any speed"
        raise UsageError(f"{group.label}: {error}{hint}") from None
    return GroupCurve(group.label, len(group.runs), x, _statistic(settings)[0](values))


def _curve_of(run: RunFolder, settings: PlotSettings) -> Curve:
    from tf_trpo.figures.histories import known

    column = X_AXES[settings.x][0]
    history = run.read_history([column, settings.metric])
    x, y = known(history[column], history[settings.metric])
    if not len(x):
        raise UsageError(f"{run.history} has no value of {settings.metric} yet")
    return x, y


def _report(settings: PlotSettings, path: Path) -> Path:
    if len(settings.run_dirs) != 1:
        raise UsageError(f"a report is of one run, not of {len(settings.run_dirs)}")
    _check_installed("matplotlib", "jinja2")
    from tf_trpo.cli.report import report

    text = report(RunFolder(settings.run_dirs[0]))
    with _writing(path):
        path.write_text(text, encoding="utf-8")
    return path


def _check_installed(*packages: str) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"drawing needs {' and '.join(missing)}: pip install 'tf_trpo[figures]'")


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None

"""`plot`: learning curves of several runs, or of a suite beside others', or a report of one run."""

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
from tf_trpo.cli.table_file import read_rows

if TYPE_CHECKING:
    from tf_trpo.figures.run_curves import GroupCurve
    from tf_trpo.results import Column, Curve, Interval
    from tf_trpo.results.tables import Row

POINTS = 200
"""Of a curve."""
X_AXES = {
    "steps": ("time/total_timesteps", "environment steps"),
    "iterations": ("time/iterations", "iterations"),
    "seconds": ("time/time_elapsed", "seconds of training"),
}


@dataclasses.dataclass(frozen=True)
class PlotSettings:
    """Draw learning curves: of runs, a line for each group that differs in its seed only, or of a suite's tables.

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
    suite: Path | None = None
    """Instead of runs: folder of a suite's tables, as benchmark learn writes them; a panel for each environment."""
    peers: Path | None = None
    """Beside a suite: folder of others' tables; curves.csv, and figures that they published in published.csv."""
    output: Path = Path("curves.png")
    """The figure: PNG or SVG, by its ending."""
    report: Path | None = None
    """Write a report of one run instead: an HTML file that needs neither server nor network."""


def main(argv: Sequence[str]) -> None:
    """Parse options, draw or report, print the file."""
    with one_line_errors():
        settings: PlotSettings = parse(PlotSettings, argv, "plot")
        print(_plot(settings))


def _plot(settings: PlotSettings) -> Path:
    if settings.suite is not None:
        runs_only = PlotSettings(run_dirs=())
        names = ("run_dirs", "metric", "x", "group_by", "report")
        given = [name for name in names if getattr(settings, name) != getattr(runs_only, name)]
        if given:
            raise UsageError(f"{', '.join(given)} cannot be given with suite: they are for folders of runs")
    elif settings.peers is not None:
        raise UsageError("peers are drawn beside a suite: name its folder by --suite")
    return _curves(settings) if settings.report is None else _report(settings, settings.report)


def _curves(settings: PlotSettings) -> Path:
    if settings.output.suffix not in (".png", ".svg"):
        raise UsageError(f"{settings.output} must end in .png or .svg")
    _check_installed("matplotlib")
    from tf_trpo.figures.style import styled, write

    with styled():
        figure = _groups(settings) if settings.suite is None else _suite(settings, settings.suite)
        with _writing(settings.output):
            write(figure, settings.output)
    return settings.output


def _statistic(settings: PlotSettings) -> tuple[Callable[[Column], Interval], str]:
    from tf_trpo.results import interquartile_mean, mean

    return {"iqm": (interquartile_mean, "interquartile mean"), "mean": (mean, "mean")}[settings.statistic]


def _suite(settings: PlotSettings, suite: Path) -> Any:
    from tf_trpo.figures.suite_panels import Runs, compute, draw
    from tf_trpo.results import CurvePoint, PublishedResult, RunResult

    ours = Runs(_read(suite / "curves.csv", CurvePoint), _read(suite / "results.csv", RunResult))
    peers, published = Runs([], []), []
    if settings.peers is not None:
        peers = Runs(_read(settings.peers / "curves.csv", CurvePoint), _read(settings.peers / "results.csv", RunResult))
        published = _read(settings.peers / "published.csv", PublishedResult)
    statistic, name = _statistic(settings)
    return draw(compute(ours, peers, published, statistic), name)


def _read(path: Path, record: type[Row]) -> list[Row]:
    rows = read_rows(path, record)
    if not rows:
        raise UsageError(f"{path} has no rows")
    return rows


def _groups(settings: PlotSettings) -> Any:
    if not settings.run_dirs:
        raise UsageError("plot needs the folder of a run, or of several, or that of a suite's tables by --suite")
    groups = group_runs(settings.run_dirs, settings.group_by)
    from tf_trpo.figures.run_curves import Curves, draw

    several = any(len(group.runs) > 1 for group in groups)
    y_label = f"{settings.metric}\n({_statistic(settings)[1]}, 95% interval)" if several else settings.metric
    return draw(Curves([_curve(group, settings) for group in groups], X_AXES[settings.x][1], y_label))


def _curve(group: RunGroup, settings: PlotSettings) -> GroupCurve:
    from tf_trpo.figures.run_curves import GroupCurve
    from tf_trpo.results import on_common_steps

    curves = [_curve_of(run, settings) for run in group.runs]
    try:
        x, values = on_common_steps(curves, POINTS, axis=settings.x)
    except ValueError as error:
        hint = "" if settings.x == "steps" else "; --x steps compares runs of any speed"
        raise UsageError(f"{group.label}: {error}{hint}") from None
    return GroupCurve(group.label, len(group.runs), x, _statistic(settings)[0](values))


def _curve_of(run: RunFolder, settings: PlotSettings) -> Curve:
    from tf_trpo.results import known

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

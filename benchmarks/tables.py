"""Tables of results as CSV: a row for each run, each point of a learning curve, or each published result."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_type_hints

import numpy as np
from numpy.typing import NDArray

from tf_trpo.figures.histories import Column, Curve
from tf_trpo.files import write_whole

EPISODES = 100
"""Number of latest episodes whose mean return training logs."""


class RunResult(NamedTuple):
    """The final evaluation of a run, in the environment's own rewards.

    Attributes:
      env: Gymnasium id.
      name: name of the settings in their suite.
      seed: seed of the run.
      steps: environment steps of the training.
      deterministic: mean return with the most likely actions.
      deterministic_std: standard deviation over episodes.
      stochastic: mean return with sampled actions.
      stochastic_std: standard deviation over episodes.
      episodes: number of episodes of each evaluation.
      seconds: duration of the training, on a machine that may have had other work; NaN if unknown.
      commit: commit of the code, with "-dirty" if the code differed from it; of another program, the versions of its
        packages; empty if unknown.
    """

    env: str
    name: str
    seed: int
    steps: int
    deterministic: float
    deterministic_std: float
    stochastic: float
    stochastic_std: float
    episodes: int
    seconds: float
    commit: str


class CostResult(NamedTuple):
    """The mean sum of a cost over an episode, in the final evaluation of a run.

    Attributes:
      env, name, seed, steps: as in `RunResult`.
      cost: label of the cost.
      deterministic: mean with the most likely actions.
      stochastic: mean with sampled actions, as in training, where the limits apply.
    """

    env: str
    name: str
    seed: int
    steps: int
    cost: str
    deterministic: float
    stochastic: float


class CurvePoint(NamedTuple):
    """One window of a run's updates.

    Attributes:
      env: Gymnasium id.
      name: name of the settings in their suite.
      seed: seed of the run.
      steps: environment steps at the end of the window.
      mean_return: mean return of the latest training episodes, averaged over the window's updates; NaN until the first
        episode has ended.
      kl: mean KL(old || new) of the window's updates, in nats.
      largest_kl: largest KL of the window's updates, in nats.
    """

    env: str
    name: str
    seed: int
    steps: int
    mean_return: float
    kl: float
    largest_kl: float


class PublishedResult(NamedTuple):
    """A result that others published.

    Attributes:
      env: name of the environment in the publication, with its version if it is given.
      source: name of the publication.
      algorithm: TRPO or PPO.
      steps: environment steps of the training.
      seeds: number of seeds; 0 if unknown.
      actions: deterministic, stochastic, or empty if unknown.
      point: point of the learning curve, best or last; empty for an evaluation after training.
      mean: mean return over seeds.
      spread: published spread of the mean; NaN if there is none.
      spread_is: kind of the spread: std, standard error, or empty.
    """

    env: str
    source: str
    algorithm: str
    steps: int
    seeds: int
    actions: str
    point: str
    mean: float
    spread: float
    spread_is: str


class TimeResult(NamedTuple):
    """The time from a command to a return.

    Attributes:
      env: Gymnasium id.
      name: name of the settings, or of the program.
      seed: seed of the run.
      steps: environment steps until the return was reached, or of the whole run.
      target: the mean return to reach.
      seconds: time since the start of the process; infinite if the run did not reach the return.
      options: options of the command on which the seconds depend.
    """

    env: str
    name: str
    seed: int
    steps: int
    target: float
    seconds: float
    options: str


class Range(NamedTuple):
    """The scale of a task.

    Attributes:
      env: Gymnasium id.
      random: mean return of random actions.
      best: the best known mean return; NaN if none is known.
    """

    env: str
    random: float
    best: float


Row = TypeVar("Row", RunResult, CostResult, CurvePoint, PublishedResult, TimeResult, Range)
RunRow = TypeVar("RunRow", RunResult, CostResult, CurvePoint, TimeResult)


def learning_curve(
    steps: NDArray[Any],
    returns: NDArray[Any],
    kl: NDArray[Any],
    env: str,
    name: str,
    seed: int,
    *,
    total_steps: int,
    points: int,
) -> list[CurvePoint]:
    """Average a run's updates over equal windows of environment steps.

    Args:
      steps: environment steps after each update, [U].
      returns: mean return of the latest training episodes at each update, [U]; NaN if unknown.
      kl: KL of each update, in nats, [U]; NaN if unknown.
      env, name, seed: identification of the run.
      total_steps: planned steps of the run, >= 1, from which the windows are computed.
      points: number of windows, >= 1; a window without an update is left out.

    Returns:
      Points in the order of their steps.
    """
    windows = np.minimum(points, np.ceil(steps * points / total_steps)).astype(int)
    curve = []
    for window in np.unique(windows):
        inside = windows == window
        known_returns, known_kl = (column[inside & ~np.isnan(column)] for column in (returns, kl))
        mean_return = float(known_returns.mean()) if len(known_returns) else math.nan
        mean_kl, largest_kl = (float(known_kl.mean()), float(known_kl.max())) if len(known_kl) else (math.nan, math.nan)
        end = round(int(window) * total_steps / points)
        curve.append(CurvePoint(env, name, seed, end, mean_return, mean_kl, largest_kl))
    return curve


def curve_of_episodes(
    ends: Column,
    returns: Column,
    env: str,
    name: str,
    seed: int,
    *,
    total_steps: int,
    points: int,
    steps_per_update: int,
) -> list[CurvePoint]:
    """Make the learning curve of a program that logs episodes, comparable to `learning_curve` of our runs.

    Args:
      ends: environment steps at the end of each episode, increasing, [E].
      returns: return of each episode, [E].
      env, name, seed, total_steps, points: as for `learning_curve`.
      steps_per_update: environment steps between updates, at each of which the latest episodes are averaged.

    Returns:
      Points in the order of their steps, without KL.
    """
    updates = np.arange(1, math.ceil(total_steps / steps_per_update) + 1) * float(steps_per_update)
    ended = np.searchsorted(ends, updates, side="right")
    means = np.array([returns[max(0, count - EPISODES) : count].mean() if count else math.nan for count in ended])
    unknown = np.full_like(means, math.nan)
    return learning_curve(updates, means, unknown, env, name, seed, total_steps=total_steps, points=points)


def on_windows(points: Sequence[CurvePoint], attribute: str) -> Curve:
    """Collect one attribute of the points of several seeds.

    Args:
      points: points of one environment and name, at least one.
      attribute: `mean_return`, `kl` or `largest_kl`.

    Returns:
      Steps [X], increasing, and values [S, X] in the order of the seeds; NaN if a seed has no point at a step.
    """
    steps = sorted({point.steps for point in points})
    seeds = sorted({point.seed for point in points})
    by_place = {(point.seed, point.steps): point for point in points}
    rows = [[getattr(by_place.get((seed, step)), attribute, math.nan) for step in steps] for seed in seeds]
    return np.array(steps, np.float64), np.array(rows, np.float64)


def by_settings(rows: Iterable[RunRow]) -> dict[tuple[str, str], list[RunRow]]:
    """Group rows by environment and name of the settings, in alphabetical order."""
    groups: dict[tuple[str, str], list[RunRow]] = {}
    for row in rows:
        groups.setdefault((row.env, row.name), []).append(row)
    return dict(sorted(groups.items()))


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV with a column for each attribute; numbers have six significant digits.

    Args:
      path: the file, which is replaced atomically.
      rows: at least one row.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0]._fields)
    writer.writerows([f"{value:.6g}" if isinstance(value, float) else value for value in row] for row in rows)
    write_whole(path, text.getvalue())


def update_table(path: Path, rows: Sequence[RunRow]) -> None:
    """Replace the rows of the given runs in a table, and keep the rows of all other runs.

    The table is sorted by environment, name and seed, so that it does not depend on the order of training.

    Args:
      path: the file; it need not exist.
      rows: at least one row.
    """
    old = read_table(path, type(rows[0])) if path.exists() else []
    runs = {row[:3] for row in rows}
    write_table(path, sorted([row for row in old if row[:3] not in runs] + list(rows), key=lambda row: row[:3]))


def read_table(path: Path, record: type[Row]) -> list[Row]:
    """Read a table that `write_table` wrote.

    Args:
      path: the file.
      record: type of a row.

    Raises:
      OSError: the file cannot be read.
      ValueError: the file has other columns, or a cell has another type.
    """
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    if tuple(header) != record._fields:
        raise ValueError(f"{path} does not have the columns {', '.join(record._fields)}")
    types = get_type_hints(record).values()
    return [record._make(type_(text) for type_, text in zip(types, row, strict=True)) for row in rows]

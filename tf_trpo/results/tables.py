"""Tidy CSV tables: one row for each run, for each point of a learning curve, for each figure that others published."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar, get_type_hints

import numpy as np


class RunResult(NamedTuple):
    """The final evaluation of a run, in the environment's own rewards.

    Attributes:
      env: Gymnasium id.
      name: of the settings, in their suite.
      seed: of the run.
      steps: environment steps that it was trained for.
      deterministic: mean return of the most likely actions.
      deterministic_std: over episodes.
      stochastic: mean return of sampled actions.
      stochastic_std: over episodes.
      episodes: of each evaluation.
      seconds: that training took, whatever else the machine did meanwhile; NaN where not known.
      commit: of the code that trained it, with "-dirty" where that differed; empty where not known.
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


class CurvePoint(NamedTuple):
    """One window of a run's updates.

    Attributes:
      env: Gymnasium id.
      name: of the settings, in their suite.
      seed: of the run.
      steps: environment steps at the window's end.
      mean_return: of the last episodes of training, averaged over the window's updates; NaN while none has ended.
      kl: mean KL(old || new) of the window's updates, in nats.
      largest_kl: the largest of them.
    """

    env: str
    name: str
    seed: int
    steps: int
    mean_return: float
    kl: float
    largest_kl: float


class PublishedResult(NamedTuple):
    """A figure that others published.

    Attributes:
      env: as they name it, with its version where they say it.
      source: who.
      algorithm: what was trained.
      steps: environment steps of training.
      seeds: how many; 0 where they do not say it.
      actions: deterministic, stochastic, or empty where they do not say it.
      point: of the learning curve: best, last, or empty for an evaluation after training.
      mean: return over seeds.
      spread: beside it; NaN where there is none.
      spread_is: std, standard error, or empty.
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


class Target(NamedTuple):
    """A return to be reached: environment and number."""

    env: str
    target: float


Row = TypeVar("Row", RunResult, CurvePoint, PublishedResult, Target)
RunRow = TypeVar("RunRow", RunResult, CurvePoint)


def learning_curve(
    history: Iterable[Mapping[str, str]], env: str, name: str, seed: int, *, total_steps: int, points: int
) -> list[CurvePoint]:
    """The rows of a history.csv, averaged over equal windows of environment steps.

    Args:
      history: one mapping an update, with `time/total_timesteps`, `rollout/ep_rew_mean` and
        `train/kl_divergence_loss`.
      env, name, seed: of the run.
      total_steps: that the run was to have, >= 1. The same windows for every seed, whatever its updates.
      points: windows, >= 1; one without an update is left out.

    Returns:
      Points in the order of their steps.
    """
    windows: dict[int, list[tuple[float, float]]] = {}
    for row in history:
        window = min(points, math.ceil(float(row["time/total_timesteps"]) * points / total_steps))
        figures = (float(row["rollout/ep_rew_mean"]), float(row["train/kl_divergence_loss"]))
        windows.setdefault(window, []).append(figures)
    curve = []
    for window, updates in sorted(windows.items()):
        returns, kls = np.array(updates).T
        known = returns[~np.isnan(returns)]
        mean_return = float(known.mean()) if len(known) else math.nan
        steps = round(window * total_steps / points)
        curve.append(CurvePoint(env, name, seed, steps, mean_return, float(kls.mean()), float(kls.max())))
    return curve


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV, the columns named after their attributes; numbers with six significant digits.

    Args:
      path: replaced at once when it is complete.
      rows: at least one.
    """
    aside = path.with_name(f"{path.name}.partial")
    with open(aside, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(rows[0]._fields)
        writer.writerows([f"{value:.6g}" if isinstance(value, float) else value for value in row] for row in rows)
    aside.replace(path)


def update_table(path: Path, rows: Sequence[RunRow]) -> None:
    """Write rows into a table in the place of those of the same runs; rows of other runs stay.

    The runs are in the order of environment, name and seed: however they were trained, it is one table.

    Args:
      path: as for `write_table`; it need not be there.
      rows: at least one.

    Raises:
      OSError, ValueError: as for `read_table`.
    """
    there = read_table(path, type(rows[0])) if path.exists() else []
    runs = {row[:3] for row in rows}
    together = [row for row in there if row[:3] not in runs] + list(rows)
    write_table(path, sorted(together, key=lambda row: row[:3]))


def by_settings(rows: Iterable[RunRow]) -> dict[tuple[str, str], list[RunRow]]:
    """Rows by environment and name of the settings, in the order of these."""
    groups: dict[tuple[str, str], list[RunRow]] = {}
    for row in rows:
        groups.setdefault((row.env, row.name), []).append(row)
    return dict(sorted(groups.items()))


def read_table(path: Path, record: type[Row]) -> list[Row]:
    """Read what `write_table` wrote.

    Args:
      path: the file.
      record: `RunResult`, `CurvePoint`, `PublishedResult` or `Target`.

    Raises:
      OSError: the file cannot be read.
      ValueError: it is no such table.
    """
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    types = tuple(get_type_hints(record).values())
    if not rows or tuple(rows[0]) != record._fields or any(len(row) != len(types) for row in rows):
        raise ValueError(f"{path} is no table with the columns {', '.join(record._fields)}")
    try:
        return [record._make(type_(text) for type_, text in zip(types, row, strict=True)) for row in rows[1:]]
    except ValueError as error:
        raise ValueError(f"{path} holds what is no number: {error}") from None

"""`compare` and `ranges`: compare one setting with other programs over all tasks of a suite."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import gymnasium as gym
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.documents import RESULTS
from benchmarks.peers import shared_making
from benchmarks.report import print_tables
from benchmarks.runs import Entry, by_environment, read_suite
from benchmarks.scores import (
    Scores,
    by_task,
    interquartile_mean_over_tasks,
    performance_profile,
    probability_of_improvement,
)
from benchmarks.tables import Range, RunResult, by_settings, read_table, write_table
from benchmarks.timing import Row, Table
from tf_trpo.environments.making import find_wrapper
from tf_trpo.figures.statistics import Interval
from tf_trpo.figures.style import CYCLE, styled, write

RANGES = Path("benchmarks/results/ranges.csv")
_LEVELS = np.linspace(0.0, 1.2, 241)
_Runs = Mapping[str, Mapping[str, NDArray[np.float64]]]
"""Program (ours first) -> environment -> mean returns of the seeds, [S]."""
_Ranges = Mapping[str, tuple[float, float]]
"""Environment -> mean return of random actions, and the best known mean return."""


@dataclasses.dataclass(frozen=True)
class Compare:
    """Compare one setting of a suite with the peers that `peers` trained on it.

    Prints the mean returns of each task. For each peer, prints the interquartile mean of normalised scores and the
    probability of improvement over their common tasks. Draws performance profiles over the tasks that all have.
    """

    suite: str = "anywhere"
    """Name of the suite; its tables are in RESULTS_DIR/SUITE: results.csv and peers.csv."""
    name: str = "default"
    """Name of the settings."""
    mode: Literal["deterministic", "stochastic"] = "deterministic"
    """The evaluation: with the most likely actions, or with sampled ones."""
    results_dir: Path = RESULTS
    """Folder of the tables."""
    ranges: Path = RANGES
    """Table of the tasks' ranges; tasks without one are left out."""

    def run(self) -> None:
        """Print the tables, draw RESULTS_DIR/SUITE-profile.png, and print its path.

        Raises:
          ValueError: as `tables`.
        """
        runs, ranges = self._read()
        print_tables(_tables(runs, ranges))
        common = set.intersection(*(set(found) for found in runs.values()))
        in_common = {name: {env: found[env] for env in sorted(common)} for name, found in runs.items()}
        output = self.results_dir / f"{self.suite}-profile.png"
        with styled():
            write(_draw(in_common, ranges), output)
        print(output)

    def tables(self) -> list[Table]:
        """Return the mean returns of the tasks that a peer has, and the comparison over all of them.

        Raises:
          ValueError: no task has a range, results of ours and results of a peer, or their steps differ.
        """
        return _tables(*self._read())

    def _read(self) -> tuple[_Runs, _Ranges]:
        folder = self.results_dir / self.suite
        ours, peers = (by_settings(read_table(folder / table, RunResult)) for table in ("results.csv", "peers.csv"))
        ranges = {row.env: (row.random, row.best) for row in read_table(self.ranges, Range) if np.isfinite(row.best)}
        runs: dict[str, dict[str, NDArray[np.float64]]] = {self.name: {}}
        for (env, name), rows in ours.items():
            if name == self.name and env in ranges:
                runs[name][env] = self._returns(rows)
        for (env, name), rows in peers.items():
            if env in runs[self.name]:
                if {row.steps for row in rows} != {row.steps for row in ours[env, self.name]}:
                    raise ValueError(f"{env}: {name} was trained for another number of steps than {self.name}")
                runs.setdefault(name, {})[env] = self._returns(rows)
        if len(runs) == 1:
            raise ValueError(f"{self.suite} has no task with a range, results of {self.name} and results of a peer")
        return runs, ranges

    def _returns(self, rows: Sequence[RunResult]) -> NDArray[np.float64]:
        return np.array([getattr(row, self.mode) for row in rows])


def _tables(runs: _Runs, ranges: _Ranges) -> list[Table]:
    return [("Mean returns", _tasks(runs, ranges)), ("Over all tasks of both", _overall(runs, ranges))]


def _tasks(runs: _Runs, ranges: _Ranges) -> list[Row]:
    rows: list[Row] = []
    ours, *peers = runs.values()
    for env in ours:
        if not any(env in found for found in peers):
            continue
        random, best = ranges[env]
        returns = {name: float(found[env].mean()) for name, found in runs.items() if env in found}
        rows.append({"task": env, "random": random, "best": best, **returns})
    return rows


def _overall(runs: _Runs, ranges: _Ranges) -> list[Row]:
    (name, own), *others = runs.items()
    rows: list[Row] = []
    for peer, theirs in others:
        both = {env: own[env] for env in theirs}
        ours, scores = by_task(both, ranges), by_task(theirs, ranges)
        rows.append(
            {
                "peer": peer,
                "tasks": str(len(theirs)),
                f"{name}, IQM [95%]": _text(interquartile_mean_over_tasks(ours), ours),
                "peer, IQM [95%]": _text(interquartile_mean_over_tasks(scores), scores),
                "probability of improvement [95%]": _text(probability_of_improvement(ours, scores), [*ours, *scores]),
            }
        )
    return rows


def _text(interval: Interval, tasks: Scores) -> str:
    """Format an estimate, with its interval if each task has several seeds: one seed does not show how they differ."""
    if min(map(len, tasks)) == 1:
        return f"{interval.estimate:.3f}"
    return f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _draw(runs: _Runs, ranges: _Ranges) -> Figure:
    figure = Figure(figsize=(6.0, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for (colour, line), (name, found) in zip(CYCLE, runs.items(), strict=False):
        shares = performance_profile(by_task(found, ranges), _LEVELS)
        axes.plot(_LEVELS, shares, color=colour, linestyle=line, label=name)
    axes.set_xlabel("normalised score: 0 of random actions, 1 the best known")
    axes.set_ylabel("share of runs above")
    axes.set_ylim(0.0, 1.0)
    axes.legend()
    return figure


@dataclasses.dataclass(frozen=True)
class Ranges:
    """Measure the mean return of random actions on the tasks of a suite; the best returns in the table are kept."""

    suite: str = "anywhere"
    """Suite in benchmarks/suites, or a YAML file."""
    only: tuple[str, ...] = ()
    """Environments to measure; all of them by default."""
    episodes: int = 100
    """Episodes of each environment."""
    ranges: Path = RANGES
    """The table; rows of other environments are kept, and a new row has no best return."""

    def run(self) -> None:
        """Measure, and write the table."""
        rows = {row.env: row for row in read_table(self.ranges, Range)} if self.ranges.exists() else {}
        for name, entry in by_environment(read_suite(self.suite, self.only)).items():
            best = rows[name].best if name in rows else float("nan")
            rows[name] = Range(name, self._random(entry), best)
            write_table(self.ranges, sorted(rows.values()))

    def _random(self, entry: Entry) -> float:
        making = shared_making(entry)
        env = gym.make(entry.env, **making["env_kwargs"])
        for name in making["wrappers"]:
            env = find_wrapper(name)(env)
        env.action_space.seed(0)
        returns = []
        for episode in range(self.episodes):
            env.reset(seed=episode)
            total, ended = 0.0, False
            while not ended:
                _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
                total, ended = total + float(reward), terminated or truncated
            returns.append(total)
        env.close()
        return float(np.mean(returns))

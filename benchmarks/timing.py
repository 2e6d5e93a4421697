"""Measure fairly: in turns, repeatedly, summarised by the median."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tf_trpo.learning.devices import use_threads

PAUSE_SECONDS = 0.25
"""Pause before each turn, since a library's threads may spin while waiting for work, and take a core from the other."""
CALLS = 3
"""Calls per turn. The first one does not count, because it wakes sleeping threads, unlike calls during training."""

Row = dict[str, Any]
"""Column -> number, text or `Measured`."""
Table = tuple[str, list[Row]]
"""Title and rows."""


class Measured(NamedTuple):
    """Repeated measurements of one quantity."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return float(np.median(self.values))

    @property
    def quartiles(self) -> tuple[float, float]:
        low, high = np.percentile(self.values, [25, 75])
        return float(low), float(high)

    def times(self, factor: float) -> Measured:
        """Multiply every value by a factor, to convert units."""
        return Measured(tuple(factor * value for value in self.values))


@dataclasses.dataclass(frozen=True)
class Tables:
    """A command that prints tables."""

    json: bool = False
    """Print a JSON object with all values instead of tables."""

    def tables(self) -> list[Table]:
        """Measure, and return the tables."""
        raise NotImplementedError

    def run(self) -> None:
        """Measure, and print the tables."""
        from benchmarks.report import print_json, print_tables

        (print_json if self.json else print_tables)(self.tables())


@dataclasses.dataclass(frozen=True)
class Measurement(Tables):
    """Options of all commands that measure speed; nothing else should run on the machine."""

    repeats: int = 5
    """Turns of each measurement; the median is reported. Calls of less than a whole training count twice a turn."""
    threads: int = 0
    """Number of threads, of the peer too; 0 for all cores."""

    def run(self) -> None:
        use_threads(self.threads)
        super().run()


def in_turns(workloads: Mapping[str, Callable[[], float]], repeats: int, *, calls: int = CALLS) -> dict[str, Measured]:
    """Measure workloads in turns, so that other load on the machine affects all of them equally.

    Args:
      workloads: functions that do their work once and return a measurement (seconds, or steps per second).
      repeats: number of turns that count, >= 1; they follow one turn of warm-up.
      calls: calls per turn, >= 1; the first one does not count if there are more.
    """
    values: dict[str, list[float]] = {name: [] for name in workloads}
    for turn in range(repeats + 1):
        for name, workload in workloads.items():
            time.sleep(PAUSE_SECONDS)
            found = [workload() for _ in range(calls)][min(1, calls - 1) :]
            if turn:
                values[name] += found
    return {name: Measured(tuple(figures)) for name, figures in values.items()}


def seconds(work: Callable[[], object]) -> float:
    """Measure the wall-clock time of one call, in seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start

"""Measuring two things fairly: in turns, many times, and by the median."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

PAUSE_SECONDS = 0.25
"""Before each turn: threads of a library that wait for work by spinning would take a core from the other."""
CALLS = 3
"""In a turn, all but the first of which count: that one finds sleeping threads, as no training does."""


class Measured(NamedTuple):
    """Repeats of one figure."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return float(np.median(self.values))

    @property
    def quartiles(self) -> tuple[float, float]:
        low, high = np.percentile(self.values, [25, 75])
        return float(low), float(high)


def in_turns(workloads: Mapping[str, Callable[[], float]], repeats: int, *, calls: int = CALLS) -> dict[str, Measured]:
    """Take turns, so that whatever else the machine does falls on all alike.

    Args:
      workloads: each does its work once and returns its figure (seconds, steps per second).
      repeats: turns of each that count, >= 1; one more before them, to warm up, does not.
      calls: in a turn, >= 1; the first does not count if there are more.
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
    """Wall-clock time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start

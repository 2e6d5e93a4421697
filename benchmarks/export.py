"""`export`: export the trained agent of each environment's median seed as a model with a card."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import tf_trpo
from benchmarks.documents import RESULTS
from benchmarks.learn import RUNS
from benchmarks.runs import MODES, Run, read_suite, suite_name, suite_run
from benchmarks.tables import RunResult, by_settings, read_table
from tf_trpo.experiment.model_card import write_model_card
from tf_trpo.messages import rounded


class Median(NamedTuple):
    """The median run of all seeds.

    Attributes:
      run: the median run.
      mode: mode of evaluation by whose returns the run is the median.
      results: results of all seeds.
    """

    run: Run
    mode: str
    results: list[RunResult]


@dataclasses.dataclass(frozen=True)
class Export:
    """Export each environment's median seed, with a card that has the returns of all seeds.

    Seeds are ordered by the mean return of the final evaluation, with the most likely or with sampled actions,
    whichever is better over the seeds. For an even number of seeds, the lower of the two middle ones is taken.
    """

    suite: str
    """Name of the suite, or its YAML file, as for learn."""
    only: tuple[str, ...] = ()
    """Environments, names, or ENVIRONMENT/NAME; needed if an environment has several names."""
    output: Path = Path("saved_models")
    """Folder of the models, OUTPUT/ENVIRONMENT/VERSION; each export adds the next version."""
    runs_dir: Path = RUNS
    """Folder of the run folders that learn wrote."""
    results_dir: Path = RESULTS
    """Folder of the tables: RESULTS_DIR/SUITE/results.csv lists the seeds."""

    def run(self) -> None:
        """Find and check all medians, then export them, and print the folder of each version.

        Raises:
          OSError: a file of a run cannot be read.
          ValueError: a suite has several names for an environment, or the run of a median is missing or cannot be
            repeated.
        """
        for median in [_checked(median) for median in self._medians()]:
            run = median.run
            agent, evaluations = tf_trpo.load(run.folder.agent), run.evaluations()
            model = self.output / run.entry.env.replace("/", "-")
            version = agent.export(model, environment=run.entry.env, evaluation=evaluations["deterministic"])
            steps = int(agent.env_steps.numpy())
            seeds = _of_all_seeds(median, self.suite)
            write_model_card(Path(version), run.folder, steps, evaluations, seeds=seeds)
            print(version)

    def _medians(self) -> list[Median]:
        entries = read_suite(self.suite, self.only)
        if len({entry.env for entry in entries}) < len(entries):
            raise ValueError(f"suite {self.suite} has several names for an environment; select one by --only")
        groups = by_settings(read_table(self.results_dir / suite_name(self.suite) / "results.csv", RunResult))
        medians = []
        for entry in entries:
            results = groups[entry.env, entry.name]
            median, mode = median_of(results)
            medians.append(Median(suite_run(entry, median.seed, self.runs_dir, self.suite), mode, results))
        return medians


def median_of(results: Sequence[RunResult]) -> tuple[RunResult, str]:
    """Return the result of the median seed (the lower middle one of an even number), and the mode of the ordering.

    The mode is the one with the better mean over seeds. Seeds with equal returns are ordered by number.
    """
    mode = max(MODES, key=lambda mode: np.mean([getattr(result, mode) for result in results]))
    ranked = sorted(results, key=lambda result: (getattr(result, mode), result.seed))
    return ranked[(len(ranked) - 1) // 2], mode


def _checked(median: Median) -> Median:
    result = median.run.result()
    (listed,) = (row for row in median.results if row.seed == median.run.seed)
    if not np.allclose([getattr(result, mode) for mode in MODES], [getattr(listed, mode) for mode in MODES], rtol=1e-5):
        raise ValueError(f"{median.run.path} is another run than the one in the table")
    if not re.fullmatch("[0-9a-f]{40}", result.commit):
        commit = result.commit or "unknown"
        raise ValueError(f"{median.run.path} cannot be repeated: its code is not that of a commit ({commit})")
    return median


def _of_all_seeds(median: Median, suite: str) -> str:
    rows = "\n".join(
        f"| {result.seed} | {rounded(result.deterministic)} | {rounded(result.stochastic)} |"
        for result in median.results
    )
    of_all = f"the median of {len(median.results)} seeds of suite {suite_name(suite)}"
    return f"""Seed {median.run.seed} is {of_all}, by the return with {MODES[median.mode]} actions:

| seed | {MODES["deterministic"]} | {MODES["stochastic"]} |
|---|---|---|
{rows}
"""

"""One training run of a suite: where it is, and the rows that it has in the tables."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import NamedTuple

from tf_trpo.cli.benchmark.suites import Entry
from tf_trpo.cli.run_folder import RunFolder
from tf_trpo.results import CurvePoint, RunResult, learning_curve

CURVE_POINTS = 40
"""Windows of a learning curve: no more than the shortest runs have updates."""
MODES = ("deterministic", "stochastic")


class Run(NamedTuple):
    """One training run of a suite.

    Attributes:
      entry: what is trained.
      seed: with which seed.
      folder: where.
      episodes: of each final evaluation.
    """

    entry: Entry
    seed: int
    folder: RunFolder
    episodes: int

    @property
    def arguments(self) -> list[str]:
        """Of the command train."""
        own = {"env": self.entry.env, "seed": self.seed, "run-dir": self.folder.path, "threads": 1}
        return [*self.entry.options, *(f"--{name}={value}" for name, value in own.items())]

    @property
    def finished(self) -> Path:
        """Written last: the evaluations of the trained agent."""
        return self.folder.path / "final_evaluations.json"

    def evaluations(self) -> dict[str, dict[str, float]]:
        """Of a run that is finished: mean_return, std_return, mean_length and episodes of each of `MODES`."""
        evaluations: dict[str, dict[str, float]] = json.loads(self.finished.read_text(encoding="utf-8"))
        return evaluations

    def result(self) -> RunResult:
        """The row of a run that is finished."""
        config = self.folder.read_config()
        deterministic, stochastic = (self.evaluations()[mode] for mode in MODES)
        return RunResult(
            self.entry.env,
            self.entry.name,
            self.seed,
            config["settings"]["total_steps"],
            deterministic["mean_return"],
            deterministic["std_return"],
            stochastic["mean_return"],
            stochastic["std_return"],
            int(deterministic["episodes"]),
            float(self.folder.read_history(["time/time_elapsed"])["time/time_elapsed"][-1]),
            config.get("commit") or "",
        )

    def curve(self) -> list[CurvePoint]:
        """The learning curve of a run that is finished."""
        total_steps = self.folder.settings()["total_steps"]
        with open(self.folder.history, newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            return learning_curve(
                rows, self.entry.env, self.entry.name, self.seed, total_steps=total_steps, points=CURVE_POINTS
            )


def suite_run(entry: Entry, seed: int, runs_dir: Path, suite: str, episodes: int) -> Run:
    """The run of an entry and a seed: RUNS_DIR/SUITE/ENVIRONMENT/NAME/SEED."""
    folder = runs_dir / suite_name(suite) / entry.env.replace("/", "-") / entry.name / str(seed)
    return Run(entry, seed, RunFolder(folder), episodes)


def suite_name(suite: str) -> str:
    """What the folders of a suite are named: a bundled suite's name, or that of its file."""
    return Path(suite).stem

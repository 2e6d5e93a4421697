"""Suites, which are YAML files of settings to train over several seeds, and their runs."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, as_completed
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import yaml

from benchmarks.tables import CostResult, CurvePoint, RunResult, learning_curve
from tf_trpo import Experiment, locks
from tf_trpo.experiment import RunFolder
from tf_trpo.experiment.model_card import ACTIONS as MODES
from tf_trpo.figures.histories import read_history

SUITES = Path(__file__).with_name("suites")
CURVE_POINTS = 40
"""Number of windows of a learning curve; the shortest runs have at least as many updates."""
_SEED_COUNT = 5
Job = TypeVar("Job")
Result = TypeVar("Result")


class Entry(NamedTuple):
    """Settings that are trained with several seeds.

    Attributes:
      env: Gymnasium id.
      name: name of the settings.
      settings: settings that differ from the preset's, without environment and seed.
      first_seed: the first seed.
      seed_count: number of seeds.
    """

    env: str
    name: str
    settings: dict[str, Any]
    first_seed: int
    seed_count: int

    def seeds(self, first: int | None = None, count: int | None = None) -> range:
        """Return consecutive seeds; None means the entry's own first seed or number of seeds."""
        first = self.first_seed if first is None else first
        return range(first, first + (self.seed_count if count is None else count))

    def experiment(self, seed: int) -> Experiment:
        """Return the experiment with a seed; raise ValueError as `Experiment.from_presets`."""
        # One thread, so that the result does not depend on the load of the machine.
        own = {"env": self.env, "seed": seed, "threads": 1, "quiet": True}
        settings = {**self.settings, **own}
        preset = settings.pop("preset", None)
        if preset == "none":
            return Experiment().replace(**settings)
        return Experiment.from_presets([] if preset is None else [preset], settings)


class Run(NamedTuple):
    """A training run of a suite.

    Attributes:
      entry: settings of the run.
      seed: seed of the run.
      path: run folder, RUNS_DIR/SUITE/ENVIRONMENT/NAME/SEED.
    """

    entry: Entry
    seed: int
    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def experiment(self) -> Experiment:
        return self.entry.experiment(self.seed)

    @property
    def finished(self) -> Path:
        """File with the evaluations of the trained agent, which is written last."""
        return self.path / "final_evaluations.json"

    @property
    def folder(self) -> RunFolder:
        """The run folder that training writes."""
        return RunFolder(self.path)

    @property
    def is_finished(self) -> bool:
        """Whether the run was trained to its end and evaluated; a run that a signal stopped is not."""
        return self.folder.is_complete() and self.finished.is_file()

    def evaluations(self) -> dict[str, dict[str, float]]:
        """Read the evaluations of a finished run: mean_return, std_return, mean_length and episodes for each mode."""
        evaluations: dict[str, dict[str, float]] = json.loads(self.finished.read_text(encoding="utf-8"))
        return evaluations

    def result(self) -> RunResult:
        """Return the row of a finished run."""
        config, evaluations = self.folder.read_config(), self.evaluations()
        deterministic, stochastic = (evaluations[mode] for mode in MODES)
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
            float(read_history(self.folder.history)["time/time_elapsed"][-1]),
            config.get("commit") or "",
        )

    def costs(self) -> list[CostResult]:
        """Return a row for each cost of a finished run."""
        evaluations, steps = self.evaluations(), self.folder.read_config()["settings"]["total_steps"]
        deterministic, stochastic = (evaluations[mode] for mode in MODES)
        names = [name for name in deterministic if name.startswith("cost/")]
        run = (self.entry.env, self.entry.name, self.seed, steps)
        return [CostResult(*run, name[5:], deterministic[name], stochastic[name]) for name in names]

    def curve(self) -> list[CurvePoint]:
        """Return the learning curve of a finished run."""
        history = read_history(self.folder.history)
        steps = history["time/total_timesteps"]
        unknown = np.full_like(steps, np.nan)
        return learning_curve(
            steps,
            history.get("rollout/ep_rew_mean", unknown),
            history.get("train/kl_divergence_loss", unknown),
            self.entry.env,
            self.entry.name,
            self.seed,
            total_steps=self.folder.read_config()["settings"]["total_steps"],
            points=CURVE_POINTS,
        )


def suite_run(entry: Entry, seed: int, runs_dir: Path, suite: str) -> Run:
    """Return the run of an entry with a seed."""
    return Run(entry, seed, runs_dir / suite_name(suite) / entry.env.replace("/", "-") / entry.name / str(seed))


def suite_name(suite: str) -> str:
    """Return the name of a suite's folders: the name of the suite, or of its file without suffix."""
    return Path(suite).stem


def suites() -> list[str]:
    """Return the names of the suites in benchmarks/suites."""
    return sorted(path.stem for path in SUITES.glob("*.yaml"))


def read_suite(suite: str, only: Sequence[str] = ()) -> list[Entry]:
    """Read the entries of a suite.

    Args:
      suite: name of a suite in benchmarks/suites, or path of a YAML file: environment -> name -> settings of `train`,
        where `seed` is the first seed and `seeds` the number of seeds.
      only: environments, names, or ENVIRONMENT/NAME of the entries to keep; all entries by default.

    Raises:
      OSError: the file cannot be read.
      ValueError: a name cannot be that of a folder, or no entry is left.
    """
    path = SUITES / f"{suite}.yaml" if suite in suites() else Path(suite)
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    entries = [_entry(env, name, dict(of_name)) for env, names in content.items() for name, of_name in names.items()]
    if only:
        entries = [entry for entry in entries if {entry.env, entry.name, f"{entry.env}/{entry.name}"} & set(only)]
    if not entries:
        raise ValueError(f"suite {suite} has no entry {' or '.join(only)}")
    return entries


def by_environment(entries: Iterable[Entry]) -> dict[str, Entry]:
    """Return the first entry of each environment. Its task and steps are those of programs that know no entries."""
    first: dict[str, Entry] = {}
    for entry in entries:
        first.setdefault(entry.env, entry)
    return first


def _entry(env: str, name: str, settings: dict[str, Any]) -> Entry:
    # Training a run deletes the content of its folder, which therefore must be inside the folder of runs.
    if "/" in name or ".." in (name, *env.split("/")) or env.startswith("/"):
        raise ValueError(f"{env}/{name} would lie outside of the folder of runs")
    return Entry(env, name, settings, settings.pop("seed", 0), settings.pop("seeds", _SEED_COUNT))


def in_pool(
    pool: Executor, work: Callable[[Job], Result], jobs: Sequence[Job]
) -> Generator[tuple[Job, Result | Exception]]:
    """Do jobs in a pool, which is shut down at the end; yield each job when it ends, with its result or its error."""
    try:
        running = {pool.submit(work, job): job for job in jobs}
        for number, future in enumerate(as_completed(running), 1):
            print(f"{number} of {len(jobs)}: {running[future]}", file=sys.stderr, flush=True)
            error = future.exception()
            if error is not None and not isinstance(error, Exception):
                raise error
            yield running[future], error or future.result()
    finally:
        # The running processes get Ctrl-C themselves; no other job may begin.
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder against a second process, whose runs and rows this one would replace.

    Raises:
      ValueError: another process has locked it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locks.locked(folder / ".lock", f"another process trains runs into {folder}"):
        yield

"""Train the runs of a suite, each in a process of its own, and collect what they learned."""

from __future__ import annotations

import concurrent.futures
import contextlib
import csv
import fcntl
import io
import itertools
import json
import multiprocessing
import shutil
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tf_trpo.cli.algorithms import check_algorithm
from tf_trpo.cli.benchmark.settings import Learn
from tf_trpo.cli.benchmark.suites import Entry, read_suite
from tf_trpo.cli.errors import UsageError
from tf_trpo.cli.presets import parse_settings
from tf_trpo.cli.run_folder import RunFolder, write_whole
from tf_trpo.cli.train import main as train
from tf_trpo.results import CurvePoint, RunResult, interquartile_mean, learning_curve, update_table

CURVE_POINTS = 40
"""Windows of a learning curve: no more than the shortest runs have updates."""


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


def learn(command: Learn) -> list[dict[str, Any]]:
    """Train what is missing, write its rows of the tables, and summarise them.

    Returns:
      A row for each entry of the suite.

    Raises:
      UsageError: a suite that cannot be read, nothing selected, a run folder of other settings, tables that
        cannot be written, or a run that failed; the others are trained nevertheless.
    """
    entries = [entry for entry in read_suite(command.suite) if entry.is_one_of(command.only)]
    if not entries:
        raise UsageError(f"suite {command.suite} has nothing of {', '.join(command.only)}")
    name = Path(command.suite).stem
    runs_dir = command.runs_dir / name
    seeds = range(command.first_seed, command.first_seed + command.seeds)
    runs = [_run(entry, seed, runs_dir, command.episodes) for entry in entries for seed in seeds]
    for entry in entries:
        check_algorithm(parse_settings([*entry.options, f"--env={entry.env}"], prog="train"))
    with _locked(runs_dir):
        failures = _train_all([run for run in runs if not _is_finished(run)], command.jobs)
        done = [run for run in runs if run.finished.is_file()]
        results = [_result(run) for run in done]
        if done:
            _write_tables(command.results_dir / name, results, [point for run in done for point in _curve(run)])
    if failures:
        raise UsageError("; ".join(failures))
    return summary(results)


def summary(results: Sequence[RunResult]) -> list[dict[str, Any]]:
    """A row for each environment and name: seeds, and statistics over them of both evaluations."""
    rows = []
    for (env, name), group in itertools.groupby(results, key=lambda result: (result.env, result.name)):
        of_name = list(group)
        row: dict[str, Any] = {"environment": env, "settings": name, "seeds": len(of_name)}
        for mode in ("deterministic", "stochastic"):
            returns = np.array([getattr(result, mode) for result in of_name])
            middle = interquartile_mean(returns)
            row[f"{mode}: mean ± std"] = f"{returns.mean():.1f} ± {returns.std():.1f}"
            row[f"{mode}: IQM [95%]"] = f"{middle.estimate:.1f} [{middle.low:.1f}, {middle.high:.1f}]"
        rows.append(row)
    return rows


def _run(entry: Entry, seed: int, runs_dir: Path, episodes: int) -> Run:
    return Run(entry, seed, RunFolder(runs_dir / entry.env.replace("/", "-") / entry.name / str(seed)), episodes)


def _is_finished(run: Run) -> bool:
    if not run.finished.is_file():
        return False
    settings = json.loads(json.dumps(parse_settings(run.arguments, prog="train").flat()))
    then = run.folder.settings()
    if settings != then:
        differing = sorted(name for name in settings if settings[name] != then.get(name))
        raise UsageError(
            f"{run.folder.path} was trained with other settings ({', '.join(differing)}): "
            "remove it, or name another folder by --runs-dir"
        )
    episodes = {evaluation["episodes"] for evaluation in json.loads(run.finished.read_text("utf-8")).values()}
    if episodes != {run.episodes}:
        raise UsageError(f"{run.folder.path} was evaluated over {episodes.pop()} episodes, not {run.episodes}")
    return True


@contextlib.contextmanager
def _locked(runs_dir: Path) -> Iterator[None]:
    """Keep a second call away, which would take the runs of this one for broken off."""
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        with open(runs_dir / ".lock", "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
    except BlockingIOError:
        raise UsageError(f"another call is training the runs in {runs_dir}") from None
    except OSError as error:
        raise UsageError(f"{error.filename or runs_dir}: {error.strerror}") from None


def _train_all(runs: Sequence[Run], jobs: int) -> list[str]:
    """Train and evaluate; what went wrong, a line for each run that failed."""
    failures = []
    # A fresh process for each run: TensorFlow's threads are set but once, and its memory is given back.
    pool = concurrent.futures.ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), max_tasks_per_child=1)
    try:
        trained = {pool.submit(_train, run): run for run in runs}
        for number, future in enumerate(concurrent.futures.as_completed(trained), 1):
            path = trained[future].folder.path
            try:
                failure = future.result()
            except BrokenProcessPool:
                failure = "its process, or one beside it, was killed"
            if failure is not None:
                failures.append(f"{path} failed: {failure}")
            print(f"{number} of {len(runs)}: {path}", file=sys.stderr, flush=True)
    finally:
        # Ctrl-C reaches the running ones by itself; those that wait must not begin.
        pool.shutdown(cancel_futures=True)
    return failures


def _train(run: Run) -> str | None:
    """Train and evaluate one run; the last line of what it said if it failed."""
    # What is there is of a run that was broken off.
    shutil.rmtree(run.folder.path, ignore_errors=True)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            train(run.arguments)
            evaluations = _evaluations(run)
    except SystemExit:
        return said.getvalue().strip().rpartition("\n")[2]
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    write_whole(run.finished, json.dumps(evaluations) + "\n")
    return None


def _evaluations(run: Run) -> dict[str, dict[str, float]]:
    agent = run.folder.load_agent()
    # Other episodes than the training's own evaluations had, which took the run's seed.
    seed = run.seed + 1_000_000
    return {
        mode: agent.evaluate(run.entry.env, run.episodes, stochastic=mode == "stochastic", seed=seed)
        for mode in ("deterministic", "stochastic")
    }


def _result(run: Run) -> RunResult:
    evaluations = json.loads(run.finished.read_text(encoding="utf-8"))
    deterministic, stochastic = evaluations["deterministic"], evaluations["stochastic"]
    return RunResult(
        run.entry.env,
        run.entry.name,
        run.seed,
        run.folder.settings()["total_steps"],
        deterministic["mean_return"],
        deterministic["std_return"],
        stochastic["mean_return"],
        stochastic["std_return"],
        deterministic["episodes"],
    )


def _curve(run: Run) -> list[CurvePoint]:
    total_steps = run.folder.settings()["total_steps"]
    with open(run.folder.history, newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        return learning_curve(
            rows, run.entry.env, run.entry.name, run.seed, total_steps=total_steps, points=CURVE_POINTS
        )


def _write_tables(folder: Path, results: Sequence[RunResult], curves: Sequence[CurvePoint]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        update_table(folder / "results.csv", results)
        update_table(folder / "curves.csv", curves)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(str(error)) from None

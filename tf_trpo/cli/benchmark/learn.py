"""Train the runs of a suite, each in a process of its own, and collect what they learned."""

from __future__ import annotations

import concurrent.futures
import contextlib
import fcntl
import io
import json
import multiprocessing
import shutil
import sys
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from tf_trpo.cli.algorithms import check_algorithm
from tf_trpo.cli.benchmark.settings import Learn
from tf_trpo.cli.benchmark.suite_runs import MODES, Run, suite_name, suite_run
from tf_trpo.cli.benchmark.suites import read_suite, selected
from tf_trpo.cli.errors import UsageError
from tf_trpo.cli.presets import parse_settings
from tf_trpo.cli.train import main as train
from tf_trpo.files import write_whole
from tf_trpo.results import RunResult, update_table


def learn(command: Learn) -> list[RunResult]:
    """Train what is missing, and write its rows of the tables as soon as a run has ended.

    Returns:
      A row for each run, whether it was trained now or before.

    Raises:
      UsageError: a suite that cannot be read, nothing selected, a run folder of other settings, tables that
        cannot be written, or a run that failed; the others are trained nevertheless.
    """
    entries = selected(read_suite(command.suite), command.only, command.suite)
    runs = [
        suite_run(entry, seed, command.runs_dir, command.suite, command.episodes)
        for entry in entries
        for seed in entry.seeds(command.first_seed, command.seeds)
    ]
    for entry in entries:
        check_algorithm(parse_settings([*entry.options, f"--env={entry.env}"], prog="train"))
    name = suite_name(command.suite)
    tables, failures = command.results_dir / name, []
    with _locked(command.runs_dir / name):
        finished = [run for run in runs if _is_finished(run)]
        _write_rows(tables, finished)
        with contextlib.closing(_train_all([run for run in runs if run not in finished], command.jobs)) as trained:
            for run, failure in trained:
                if failure is None:
                    finished.append(run)
                    _write_rows(tables, [run])
                else:
                    failures.append(f"{run.folder.path} failed: {failure}")
    if failures:
        raise UsageError("; ".join(failures))
    return [run.result() for run in finished]


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
    episodes = {evaluation["episodes"] for evaluation in run.evaluations().values()}
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


def _train_all(runs: Sequence[Run], jobs: int) -> Generator[tuple[Run, str | None]]:
    """Train and evaluate; each run as it ends, with what went wrong, if anything did."""
    # A fresh process for each run: TensorFlow's threads are set but once, and its memory is given back.
    pool = concurrent.futures.ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), max_tasks_per_child=1)
    try:
        trained = {pool.submit(_train, run): run for run in runs}
        for number, future in enumerate(concurrent.futures.as_completed(trained), 1):
            run = trained[future]
            try:
                failure = future.result()
            except BrokenProcessPool:
                failure = "its process, or one beside it, was killed"
            print(f"{number} of {len(runs)}: {run.folder.path}", file=sys.stderr, flush=True)
            yield run, failure
    finally:
        # Ctrl-C reaches the running ones by itself; those that wait must not begin.
        pool.shutdown(cancel_futures=True)


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
        mode: agent.evaluate(run.entry.env, run.episodes, stochastic=mode == "stochastic", seed=seed) for mode in MODES
    }


def _write_rows(folder: Path, runs: Sequence[Run]) -> None:
    if not runs:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        update_table(folder / "results.csv", [run.result() for run in runs])
        update_table(folder / "curves.csv", [point for run in runs for point in run.curve()])
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(str(error)) from None

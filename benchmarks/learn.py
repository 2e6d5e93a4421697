"""`learn`: train the runs of a suite, each in its own process, and write tables of results."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import json
import multiprocessing
import shutil
import signal
from collections.abc import Generator, Sequence
from pathlib import Path

import tf_trpo
from benchmarks.documents import RESULTS, summary
from benchmarks.report import print_tables
from benchmarks.runs import MODES, Run, in_pool, locked, read_suite, suite_name, suite_run
from benchmarks.tables import update_table
from tf_trpo.experiment.evaluating import evaluation_arguments
from tf_trpo.files import write_whole

RUNS = Path("runs/learn")


@dataclasses.dataclass(frozen=True)
class Learn:
    """Train every run of a suite with several seeds, and write tables of the results.

    A finished run is not trained again: call the command again to continue after an interruption.
    """

    suite: str = "algorithms"
    """Suite in benchmarks/suites, or a YAML file: environment -> name of the settings -> settings of train."""
    seeds: int | None = None
    """Number of seeds of each entry; None for the number in the entry, or 5 if it has none."""
    first_seed: int | None = None
    """The first seed; None for the first seed in the entry, or 0 if it has none."""
    only: tuple[str, ...] = ()
    """Environments, names, or ENVIRONMENT/NAME of the entries to train; all of them by default."""
    episodes: int = 20
    """Episodes of the final evaluation, with the most likely actions and with sampled ones."""
    jobs: int = 2
    """Number of runs at the same time, each on one thread; it does not change the results."""
    runs_dir: Path = RUNS
    """Folder of the run folders: RUNS_DIR/SUITE/ENVIRONMENT/NAME/SEED."""
    results_dir: Path = RESULTS
    """Folder of the tables: RESULTS_DIR/SUITE/results.csv and curves.csv; rows of other runs are kept."""

    def run(self) -> None:
        """Train what is missing, and write the rows of each run as soon as it ends.

        Raises:
          ValueError: a finished run has other settings.
          RuntimeError: a run failed; the other runs are trained nevertheless.
        """
        entries, name = read_suite(self.suite, self.only), suite_name(self.suite)
        runs = [
            suite_run(entry, seed, self.runs_dir, self.suite)
            for entry in entries
            for seed in entry.seeds(self.first_seed, self.seeds)
        ]
        failures = []
        with locked(self.runs_dir / name):
            finished = [run for run in runs if _is_finished(run, self.episodes)]
            _write_rows(self.results_dir / name, finished)
            missing = [run for run in runs if run not in finished]
            for run, failure in _train_all(missing, self.jobs, self.episodes):
                if failure is None:
                    finished.append(run)
                    _write_rows(self.results_dir / name, [run])
                else:
                    failures.append(f"{run.path} failed: {failure}")
        if failures:
            raise RuntimeError("\n".join(failures))
        title = f"Final returns of suite {self.suite}, {self.episodes} episodes"
        print_tables([(title, summary([run.result() for run in finished]))])


def _is_finished(run: Run, episodes: int) -> bool:
    # Called for all runs before the first training, so that wrong settings are found early.
    settings = json.loads(json.dumps(run.experiment.flat()))
    if not run.is_finished:
        return False
    then = run.folder.read_config()["settings"]
    differing = [name for name in settings if settings[name] != then.get(name)]
    if differing:
        raise ValueError(f"{run.path} was trained with other settings ({', '.join(differing)}): remove it")
    if any(evaluation["episodes"] != episodes for evaluation in run.evaluations().values()):
        raise ValueError(f"{run.path} was not evaluated over {episodes} episodes")
    return True


def _train_all(runs: Sequence[Run], jobs: int, episodes: int) -> Generator[tuple[Run, Exception | None]]:
    """Train and evaluate runs; yield each run when it ends, with the error if it failed."""
    # A new process for each run, since TensorFlow's threads can be set only once, and to release its memory.
    pool = concurrent.futures.ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), max_tasks_per_child=1)
    yield from in_pool(pool, functools.partial(_train, episodes=episodes), runs)


def _train(run: Run, episodes: int) -> None:
    # Delete an unfinished run, which was interrupted.
    shutil.rmtree(run.path, ignore_errors=True)
    experiment = run.experiment
    trained = experiment.train(run.path)
    if trained.stopped_by is not None:
        raise RuntimeError(f"{signal.Signals(trained.stopped_by).name} stopped it; the next call trains it again")
    agent = tf_trpo.load(run.folder.agent)
    # Other episodes than those of evaluations during training, whose seed is the run's.
    how = {**evaluation_arguments(experiment), "seed": run.seed + 1_000_000}
    evaluations = {
        mode: agent.evaluate(run.entry.env, episodes, stochastic=mode == "stochastic", **how) for mode in MODES
    }
    write_whole(run.finished, json.dumps(evaluations) + "\n")


def _write_rows(folder: Path, runs: Sequence[Run]) -> None:
    if runs:
        folder.mkdir(parents=True, exist_ok=True)
        update_table(folder / "results.csv", [run.result() for run in runs])
        if costs := [cost for run in runs for cost in run.costs()]:
            update_table(folder / "costs.csv", costs)
        update_table(folder / "curves.csv", [point for run in runs for point in run.curve()])

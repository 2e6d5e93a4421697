"""`time-to-result`: measure the time from a command to the return of sb3-contrib's TRPO after a million steps."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np
from scipy import stats

from benchmarks.documents import RESULTS
from benchmarks.peer import last_line, run_training, zoo_settings
from benchmarks.tables import CurvePoint, RunResult, TimeResult, by_settings, on_windows, read_table, update_table
from benchmarks.timing import PAUSE_SECONDS, Row, Table, Tables
from tf_trpo.experiment.options import as_options
from tf_trpo.figures.histories import read_history

PRESETS = {"fast": ("mujoco", "fast"), "default": ("none",)}
"""Name of our settings -> the presets of `train`."""
SB3 = "sb3-contrib"
_SB3_STEPS, _SB3_BATCH = 1_000_000, 2_048
_EPISODES = 20
"""Episodes of an evaluation."""


@dataclasses.dataclass(frozen=True)
class TimeToResult(Tables):
    """Measure the seconds from the command `train` to the return that sb3-contrib's TRPO has after a million steps.

    `train` evaluates the policy now and then over 20 episodes with the most likely actions. A run ends when their mean
    return is at least the mean final return of sb3-contrib's seeds. The time of sb3-contrib is that of a whole training
    of a million steps: its start, and the time of `sb3_steps` steps, multiplied up. "Of its first passage" is the part
    of this time until the mean of its learning curves, if it ever does, reaches the same return. Its process uses one
    thread, which steps two environments, and ours use all cores. Runs that are in the table are not measured again. Run
    nothing else meanwhile.
    """

    against_sb3: Path | None = None
    """A Python that has sb3-contrib; None: its times come from the table, if they are there."""
    only: tuple[str, ...] = ()
    """Environments; by default all that sb3-contrib was trained in."""
    seeds: int = 3
    """Number of our seeds of each environment."""
    first_seed: int = 0
    """The first seed."""
    total_steps: int = 1_000_000
    """Environment steps after which one of our runs ends without having reached the return."""
    eval_every: int = 50_000
    """Environment steps between evaluations."""
    sb3_steps: int = 100_000
    """Environment steps over which sb3-contrib's speed is measured."""
    runs_dir: Path = Path("runs/time")
    """Folder of our runs."""
    table: Path = Path("runs/times.csv")
    """The table of the measured times."""
    results_dir: Path = RESULTS
    """RESULTS_DIR/peers has sb3-contrib's returns, results.csv, and learning curves, curves.csv."""

    def tables(self) -> list[Table]:
        self.table.parent.mkdir(parents=True, exist_ok=True)
        targets = self._targets()
        done = self._done(targets)
        for env, target in targets.items():
            for name in (SB3, *PRESETS):
                for seed in self._seeds(name):
                    if (env, name, seed) not in done:
                        time.sleep(PAUSE_SECONDS)
                        row = self._measured(env, name, seed, target)
                        print(f"{env}, {name}, seed {seed}: {row.seconds:.1f} s", file=sys.stderr, flush=True)
                        update_table(self.table, [row])
        title = "Seconds from the command to sb3-contrib's return after 1M steps: all seeds"
        rows = [row for row in read_table(self.table, TimeResult) if row.env in targets]
        return [(title, compared(rows, first_passages(self.results_dir, targets)))]

    def _options(self, name: str) -> str:
        """Return the options on which the time of a run depends."""
        names = ("sb3_steps",) if name == SB3 else ("total_steps", "eval_every")
        return " ".join(f"{name}={getattr(self, name)}" for name in names)

    def _done(self, targets: Mapping[str, float]) -> set[tuple[str, str, int]]:
        """Return the runs that are in the table; raise ValueError if one had another return to reach, or options."""
        rows = read_table(self.table, TimeResult) if self.table.exists() else []
        for row in rows:
            if not math.isclose(row.target, targets.get(row.env, row.target), rel_tol=1e-4):
                raise ValueError(f"{self.table}: the return to reach in {row.env} was {row.target:g}: remove the table")
            if row.env in targets and row.options != (wanted := self._options(row.name)):
                run = f"{row.env}, {row.name}, seed {row.seed}"
                raise ValueError(f"{self.table}: {run} was measured with {row.options}, not {wanted}: remove its row")
        return {row[:3] for row in rows}

    def _seeds(self, name: str) -> range:
        if name == SB3:
            return range(0 if self.against_sb3 is None else 1)
        return range(self.first_seed, self.first_seed + self.seeds)

    def _targets(self) -> Mapping[str, float]:
        """Return the mean final return of sb3-contrib's seeds in each environment."""
        returns: dict[str, list[float]] = {}
        for row in read_table(self.results_dir / "peers" / "results.csv", RunResult):
            if row.name == SB3 and row.steps == _SB3_STEPS and (not self.only or row.env in self.only):
                returns.setdefault(row.env, []).append(row.deterministic)
        unknown = set(self.only) - returns.keys()
        if unknown or not returns:
            raise ValueError(f"sb3-contrib has no results in {' or '.join(sorted(unknown)) or self.results_dir}")
        return {env: float(np.mean(of_seeds)) for env, of_seeds in returns.items()}

    def _measured(self, env: str, name: str, seed: int, target: float) -> TimeResult:
        if name == SB3:
            return TimeResult(env, name, seed, _SB3_STEPS, target, self._sb3_seconds(env, seed), self._options(name))
        folder = self.runs_dir / env / name / str(seed)
        shutil.rmtree(folder, ignore_errors=True)
        settings = {"env": env, "seed": seed, "total_steps": self.total_steps, "eval_every": self.eval_every}
        settings |= {"eval_episodes": _EPISODES, "checkpoint_every": 0, "histogram_every": 0}
        settings |= {"run_dir": folder, "quiet": True}
        presets = [word for preset in PRESETS[name] for word in as_options({"preset": preset})]
        command = [sys.executable, "-m", "tf_trpo", "train", *presets, *as_options(settings)]
        found = _reached(command, folder / "history.csv", target)
        return TimeResult(env, name, seed, *found, self._options(name))

    def _sb3_seconds(self, env: str, seed: int) -> float:
        assert self.against_sb3 is not None
        job = {"algorithm": "TRPO", "env": env, "env_kwargs": {}, "seed": seed, "steps": self.sb3_steps, "episodes": 0}
        start = time.perf_counter()
        training = run_training(self.against_sb3, job | zoo_settings(env))["seconds"]
        whole = time.perf_counter() - start
        trained = math.ceil(self.sb3_steps / _SB3_BATCH) * _SB3_BATCH
        return whole - training + training * _SB3_STEPS / trained


def _reached(command: list[str], history: Path, target: float) -> tuple[int, float, float]:
    """Run `train` until an evaluation reaches the target; return the steps, the target, and the seconds."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said, _running(command, said) as process:
        while True:
            ended = process.poll() is not None
            steps, reached = _progress(history, target)
            if reached:
                return steps, target, time.perf_counter() - start
            if ended and process.returncode:
                said.seek(0)
                raise RuntimeError(f"training ended with status {process.returncode}: {last_line(said.read())}")
            if ended:
                return steps, target, math.inf
            time.sleep(0.1)


@contextlib.contextmanager
def _running(command: list[str], said: IO[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said) as process:
        try:
            yield process
        finally:
            # It ends after its iteration, and keeps its compiled programs for the next run.
            process.terminate()
            try:
                process.wait(60.0)
            except subprocess.TimeoutExpired:
                process.kill()


def _progress(history: Path, target: float) -> tuple[int, bool]:
    """Return whether an evaluation has reached the target, and the steps before the first such one, or so far."""
    try:
        columns = read_history(history)
    except (OSError, ValueError):
        return 0, False
    steps = columns["time/total_timesteps"]
    hits = np.flatnonzero(columns.get("eval/mean_reward", np.full_like(steps, np.nan)) >= target)
    return int(steps[hits[0] if hits.size else -1]), bool(hits.size)


def first_passages(results_dir: Path, targets: Mapping[str, float]) -> dict[str, float]:
    """Return when sb3-contrib's learning curve, averaged over its seeds, first reaches the target of an environment.

    Returns:
      Environment -> share of its training, in (0, 1]; 1 if the curve does not reach the target.
    """
    curves = by_settings(read_table(results_dir / "peers" / "curves.csv", CurvePoint))
    passages = {}
    for env, target in targets.items():
        steps, returns = on_windows(curves[env, SB3], "mean_return")
        hits = np.flatnonzero(returns.mean(axis=0) >= target)
        passages[env] = float(steps[hits[0]] / _SB3_STEPS) if hits.size else 1.0
    return passages


def compared(rows: list[TimeResult], passages: Mapping[str, float]) -> list[Row]:
    """Return the seconds of each environment, and how many times as fast ours are: by the median of the seeds.

    If one of our seeds did not reach the return, the factor is 0. The last row has the interquartile means of the
    factors over the environments, for settings that have all of them.

    Args:
      rows: the measured times.
      passages: the result of `first_passages`.
    """
    table: list[Row] = []
    groups, targets = by_settings(rows), {row.env: row.target for row in rows}
    for env in targets:
        seconds = {name: [row.seconds for row in groups.get((env, name), [])] for name in (SB3, *PRESETS)}
        line: Row = {"environment": env, "return": targets[env], SB3: _all(seconds[SB3])}
        for name in PRESETS:
            line[name] = _all(seconds[name])
            if seconds[SB3] and seconds[name]:
                ours = math.inf if math.inf in seconds[name] else float(np.median(seconds[name]))
                line[f"{name}, times as fast"] = float(np.median(seconds[SB3])) / ours
                line[f"{name}, of its first passage"] = passages[env] * line[f"{name}, times as fast"]
        table.append(line)
    factors = [column for name in PRESETS for column in (f"{name}, times as fast", f"{name}, of its first passage")]
    means = {
        column: float(stats.trim_mean([line[column] for line in table], 0.25))
        for column in factors
        if all(column in line for line in table)
    }
    return [*table, {"environment": "interquartile mean", **means}] if means else table


def _all(seconds: list[float]) -> str:
    return ", ".join("not reached" if math.isinf(each) else f"{each:.0f}" for each in seconds)

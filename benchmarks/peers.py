"""`peers`: train sb3-contrib's TRPO and Stable-Baselines3's PPO on the tasks of a suite, by their own defaults."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.documents import PEERS
from benchmarks.runs import CURVE_POINTS, Entry, read_suite
from benchmarks.tables import CurvePoint, RunResult, curve_of_episodes, read_table, update_table

_PROGRAM = Path(__file__).with_name("sb3_learn.py")
_ROLLOUT = 2048
"""Environment steps between two updates of both algorithms."""
NAMES = {"TRPO": "sb3-contrib TRPO, defaults", "PPO": "Stable-Baselines3 PPO, defaults"}
"""Names of the rows of each algorithm."""


@dataclasses.dataclass(frozen=True)
class Peers:
    """Train sb3-contrib's TRPO and Stable-Baselines3's PPO for the steps of each environment of a suite.

    Both have their own default settings and VecNormalize. What the table of the peers has is not trained again.
    """

    python: Path
    """A Python that has sb3-contrib, and the packages of the environments."""
    suite: str = "anywhere"
    """Suite in benchmarks/suites, or a YAML file; the environments and steps of its entries are taken."""
    seeds: int = 3
    """Seeds of each environment."""
    first_seed: int = 0
    """The first seed."""
    only: tuple[str, ...] = ()
    """Environments to train on; all of them by default."""
    episodes: int = 20
    """Episodes of each evaluation, with the most likely actions and with sampled ones."""
    jobs: int = 2
    """Runs at the same time, each on one thread."""
    results_dir: Path = PEERS
    """Folder of the tables results.csv and curves.csv; rows of other runs stay."""

    def run(self) -> None:
        """Train what is missing, and write the row of each run as soon as it ends.

        Raises:
          RuntimeError: a run failed; the other runs are trained nevertheless.
        """
        path = self.results_dir / "results.csv"
        self.results_dir.mkdir(parents=True, exist_ok=True)
        rows = read_table(path, RunResult) if path.exists() else []
        known = {(row.env, row.name, row.seed, row.steps) for row in rows}
        missing = [job for job in self._jobs() if (job.env, job.name, job.seed, job.steps) not in known]
        failures = []
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            trained = {pool.submit(self._train, job): job for job in missing}
            for number, future in enumerate(concurrent.futures.as_completed(trained), 1):
                job = trained[future]
                print(f"{number} of {len(missing)}: {job.env}, {job.name}, seed {job.seed}", file=sys.stderr)
                try:
                    result, curve = future.result()
                    update_table(path, [result])
                    if curve:
                        update_table(path.with_name("curves.csv"), curve)
                except RuntimeError as error:
                    failures.append(f"{job.env}, {job.name}, seed {job.seed} failed: {error}")
        if failures:
            raise RuntimeError("\n".join(failures))

    def _jobs(self) -> Iterator[_Job]:
        for entry in read_suite(self.suite, self.only):
            for seed in entry.seeds(self.first_seed, self.seeds):
                for algorithm in NAMES:
                    yield _Job(entry, algorithm, seed)

    def _train(self, job: _Job) -> tuple[RunResult, list[CurvePoint]]:
        described = {
            "algorithm": job.algorithm,
            "env": job.env,
            "env_kwargs": job.entry.settings.get("env_kwargs") or {},
            "seed": job.seed,
            "steps": job.steps,
            "episodes": self.episodes,
        }
        ended = subprocess.run(
            [str(self.python), str(_PROGRAM), json.dumps(described)],
            capture_output=True,
            text=True,
            # Environments of this repository are named from its folder.
            env={**os.environ, "PYTHONPATH": str(_PROGRAM.parents[1])},
        )
        if ended.returncode:
            raise RuntimeError((ended.stderr.strip().splitlines() or ["it said nothing"])[-1])
        answer = json.loads(ended.stdout.strip().splitlines()[-1])
        own: dict[str, Any] = {"env": job.env, "name": job.name, "seed": job.seed}
        result = RunResult(**own, steps=job.steps, **answer["result"], episodes=self.episodes, commit="")
        ends, returns = np.cumsum(answer["lengths"], dtype=np.float64), np.array(answer["returns"], np.float64)
        spans: dict[str, Any] = {"total_steps": job.steps, "points": CURVE_POINTS, "steps_per_update": _ROLLOUT}
        return result, curve_of_episodes(ends, returns, **own, **spans)


@dataclasses.dataclass(frozen=True)
class _Job:
    entry: Entry
    algorithm: str
    seed: int

    @property
    def env(self) -> str:
        return self.entry.env

    @property
    def name(self) -> str:
        return NAMES[self.algorithm]

    @property
    def steps(self) -> int:
        steps: int = self.entry.settings["total_steps"]
        return steps

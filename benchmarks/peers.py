"""`peers`: train sb3-contrib's TRPO and Stable-Baselines3's PPO on the tasks of a suite, with their defaults."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from benchmarks.documents import RESULTS
from benchmarks.peer import run_training
from benchmarks.runs import Entry, locked, read_suite, suite_name
from benchmarks.tables import RunResult, read_table, update_table

Algorithm = Literal["TRPO", "PPO", "RecurrentPPO"]
NAMES: dict[Algorithm, str] = {
    "TRPO": "sb3-contrib TRPO, defaults",
    "PPO": "Stable-Baselines3 PPO, defaults",
    "RecurrentPPO": "sb3-contrib RecurrentPPO, defaults",
}
"""Algorithm -> name in the rows of the table."""
_WITHOUT_TEXT = "tf_trpo.environments:WithoutText"
_PUBLIC = ("gymnasium.wrappers:", "minigrid.wrappers:")
"""Packages whose wrappers a peer's Python has too."""


@dataclasses.dataclass(frozen=True)
class Peers:
    """Train sb3-contrib's TRPO and Stable-Baselines3's PPO for the steps of each environment of a suite.

    They use their own default settings and VecNormalize. Runs that are in the table are not trained again.
    """

    python: Path
    """A Python that has sb3-contrib and the packages of the environments."""
    suite: str = "anywhere"
    """Suite in benchmarks/suites, or a YAML file; only environments and steps of its entries are used."""
    seeds: int = 3
    """Number of seeds of each environment."""
    first_seed: int = 0
    """The first seed."""
    algorithms: tuple[Algorithm, ...] = ("TRPO", "PPO")
    """Algorithms to train; RecurrentPPO is sb3-contrib's PPO with a memory."""
    only: tuple[str, ...] = ()
    """Environments to train on; all of them by default."""
    episodes: int = 20
    """Episodes of each evaluation, with the most likely actions and with sampled ones."""
    jobs: int = 2
    """Number of runs at the same time, each on one thread."""
    results_dir: Path = RESULTS
    """The table is RESULTS_DIR/SUITE/peers.csv; rows of other runs are kept."""

    def run(self) -> None:
        """Train what is missing, and write the row of each run as soon as it ends.

        Raises:
          ValueError: an entry changes the environment in a way that the peers do not have.
          RuntimeError: a run failed; the other runs are trained nevertheless.
        """
        path = self.results_dir / suite_name(self.suite) / "peers.csv"
        with locked(path.parent):
            self._train_into(path)

    def _train_into(self, path: Path) -> None:
        rows = read_table(path, RunResult) if path.exists() else []
        known = {(row.env, row.name, row.seed, row.steps) for row in rows}
        missing = [job for job in self._jobs() if (job.env, job.name, job.seed, job.steps) not in known]
        failures = []
        pool = concurrent.futures.ThreadPoolExecutor(self.jobs)
        try:
            trained = {pool.submit(self._train, job): job for job in missing}
            for number, future in enumerate(concurrent.futures.as_completed(trained), 1):
                job = trained[future]
                print(f"{number} of {len(missing)}: {job.env}, {job.name}, seed {job.seed}", file=sys.stderr)
                try:
                    update_table(path, [future.result()])
                except RuntimeError as error:
                    failures.append(f"{job.env}, {job.name}, seed {job.seed} failed: {error}")
        finally:
            # The running programs get Ctrl-C themselves; no other run may begin.
            pool.shutdown(cancel_futures=True)
        if failures:
            raise RuntimeError("\n".join(failures))

    def _jobs(self) -> Iterator[_Job]:
        # If an environment has several entries, which differ in our settings, the first one gives the steps.
        entries = {entry.env: entry for entry in reversed(list(read_suite(self.suite, self.only)))}
        for entry in reversed(entries.values()):
            # Refused before anything is trained.
            shared_wrappers(entry)
            for seed in entry.seeds(self.first_seed, self.seeds):
                for algorithm in self.algorithms:
                    yield _Job(entry, algorithm, seed)

    def _train(self, job: _Job) -> RunResult:
        described = {
            "algorithm": job.algorithm,
            "env": job.env,
            "env_kwargs": job.entry.settings.get("env_kwargs") or {},
            "wrappers": shared_wrappers(job.entry),
            "seed": job.seed,
            "steps": job.steps,
            "episodes": self.episodes,
        }
        answer = run_training(self.python, described)
        return RunResult(job.env, job.name, job.seed, job.steps, **answer, episodes=self.episodes, commit="")


def shared_wrappers(entry: Entry) -> list[str]:
    """Return the names of an entry's wrappers, without `WithoutText`, instead of which peers drop text themselves.

    Raises:
      ValueError: the entry changes the environment in a way that other programs would not have.
    """
    wrappers = [name for name in entry.settings.get("wrapper", ()) if name != _WITHOUT_TEXT]
    found = [name for name in wrappers if not name.startswith(_PUBLIC)]
    if entry.settings.get("action_masks", "auto") == "info":
        found.append("masks of actions")
    if found:
        raise ValueError(f"{entry.env}/{entry.name} has {', '.join(found)}, which other programs would not have")
    return wrappers


@dataclasses.dataclass(frozen=True)
class _Job:
    entry: Entry
    algorithm: Algorithm
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

"""`peers`: train sb3-contrib's TRPO and Stable-Baselines3's PPO on the tasks of a suite, with their defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from benchmarks.documents import RESULTS
from benchmarks.peer import run_training, zoo_settings
from benchmarks.runs import Entry, by_environment, in_pool, locked, read_suite, suite_name
from benchmarks.tables import RunResult, read_table, update_table

Algorithm = Literal["TRPO", "PPO", "RecurrentPPO"]
NAMES: dict[Algorithm, str] = {
    "TRPO": "sb3-contrib TRPO, defaults",
    "PPO": "Stable-Baselines3 PPO, defaults",
    "RecurrentPPO": "sb3-contrib RecurrentPPO, defaults",
}
"""Algorithm -> name in the rows of the table."""
_ZOO_NAME = "sb3-contrib TRPO, RL Zoo's settings"
_WITHOUT_TEXT = "tf_trpo.environments:WithoutText"
_PUBLIC = ("gymnasium.wrappers:", "minigrid.wrappers:")
"""Packages whose wrappers a peer's Python has too."""


@dataclasses.dataclass(frozen=True)
class Peers:
    """Train sb3-contrib's TRPO and Stable-Baselines3's PPO for the steps of each environment of a suite.

    They use VecNormalize, and their own default settings, or RL Zoo's for TRPO in MuJoCo. Runs that are in the table
    are not trained again. If a suite has several entries of an environment, its first one gives the task and the steps.
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
    settings: Literal["defaults", "zoo"] = "defaults"
    """Their defaults, or RL Zoo's settings for MuJoCo, which are known for TRPO only."""
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
          ValueError: RL Zoo's settings are asked for another algorithm than TRPO, an entry changes the environment in a
            way that the peers do not have, or a run in the table had other steps or episodes.
          RuntimeError: a run failed; the other runs are trained nevertheless.
        """
        if self.settings == "zoo" and self.algorithms != ("TRPO",):
            raise ValueError("RL Zoo's settings are those of TRPO: give --algorithms TRPO")
        path = self.results_dir / suite_name(self.suite) / "peers.csv"
        with locked(path.parent):
            self._train_into(path)

    def _train_into(self, path: Path) -> None:
        rows = {row[:3]: row for row in read_table(path, RunResult)} if path.exists() else {}
        missing = []
        for job in self._jobs():
            row = rows.get((job.env, job.name, job.seed))
            if row is None:
                missing.append(job)
            elif (row.steps, row.episodes) != (job.steps, self.episodes):
                had = f"{row.steps} steps and evaluations of {row.episodes} episodes"
                raise ValueError(f"{path}: {job} had {had}: remove its row")
        failures = []
        for job, found in in_pool(ThreadPoolExecutor(self.jobs), self._train, missing):
            if isinstance(found, Exception):
                failures.append(f"{job} failed: {found}")
            else:
                update_table(path, [found])
        if failures:
            raise RuntimeError("\n".join(failures))

    def _jobs(self) -> Iterator[_Job]:
        for entry in by_environment(read_suite(self.suite, self.only)).values():
            making, steps = shared_making(entry), entry.experiment(0).run.total_steps
            for seed in entry.seeds(self.first_seed, self.seeds):
                for algorithm in self.algorithms:
                    name = _ZOO_NAME if self.settings == "zoo" else NAMES[algorithm]
                    yield _Job(entry.env, name, making, steps, algorithm, seed)

    def _train(self, job: _Job) -> RunResult:
        described = {
            "algorithm": job.algorithm,
            "env": job.env,
            **job.making,
            "seed": job.seed,
            "steps": job.steps,
            "episodes": self.episodes,
            **(zoo_settings(job.env) if self.settings == "zoo" else {}),
        }
        answer = run_training(self.python, described)
        versions = answer.pop("versions")
        return RunResult(job.env, job.name, job.seed, job.steps, **answer, episodes=self.episodes, commit=versions)


def shared_making(entry: Entry) -> dict[str, Any]:
    """Return the arguments of an entry's environment, env_kwargs, and the names of its wrappers, wrappers.

    `WithoutText` is left out, since peers drop text themselves.

    Raises:
      ValueError: the entry changes the environment in a way that other programs would not have.
    """
    making = entry.experiment(0).environment
    wrappers = [name for name in making.wrapper if name != _WITHOUT_TEXT]
    found = [name for name in wrappers if not name.startswith(_PUBLIC)]
    if making.action_masks == "info":
        found.append("masks of actions")
    if found:
        raise ValueError(f"{entry.env}/{entry.name} has {', '.join(found)}, which other programs would not have")
    return {"env_kwargs": dict(making.env_kwargs or {}), "wrappers": wrappers}


@dataclasses.dataclass(frozen=True)
class _Job:
    env: str
    name: str
    making: dict[str, Any]
    steps: int
    algorithm: Algorithm
    seed: int

    def __str__(self) -> str:
        return f"{self.env}, {self.name}, seed {self.seed}"

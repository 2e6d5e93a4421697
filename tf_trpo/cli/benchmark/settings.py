"""Options of the benchmark's commands."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import tyro

EnvironmentName = Literal["HalfCheetah-v5", "Hopper-v5", "CartPole-v1"]


@dataclasses.dataclass(frozen=True)
class Common:
    """Options of every command."""

    repeats: int = 5
    """Turns of each measurement, of two calls that count; their median is reported."""
    threads: int = 0
    """Threads to compute with, on both sides; 0 for all cores."""
    json: bool = False
    """Print one JSON object instead of a table."""


@dataclasses.dataclass(frozen=True)
class AgainstPeer(Common):
    """Options of the commands that can run a peer in turns."""

    against_sb3: Path | None = None
    """A Python that has sb3-contrib: measure its TRPO in turns with ours, and print ratios."""


@dataclasses.dataclass(frozen=True)
class Update(AgainstPeer):
    """The update on one rollout of HalfCheetah-v5: policy step, and the whole of it with the critic."""

    num_steps: int = 2048
    """Samples of the batch."""
    hidden_sizes: tuple[int, ...] = (64, 256)
    """Each number n: policy and value function with two layers of n units."""


@dataclasses.dataclass(frozen=True)
class Collect(AgainstPeer):
    """Collection against stepping the same environments with random actions."""

    envs: tuple[EnvironmentName, ...] = ("Hopper-v5", "HalfCheetah-v5")
    """Environments."""
    num_envs: tuple[int, ...] = (1, 8, 32)
    """Numbers of environments stepped together."""
    backends: tuple[Literal["sync", "envpool"], ...] = ("sync", "envpool")
    """Vector backends; envpool is an extra."""
    rows: int = 2048
    """Steps of a repeat, over all environments."""


@dataclasses.dataclass(frozen=True)
class Train(AgainstPeer):
    """Training end to end, whole iterations, the first (which compiles) left out."""

    repeats: int = 3
    rows: int = 2048
    """Steps of an iteration, over all environments."""
    iterations: int = 6
    """Iterations in a repeat."""
    backends: tuple[Literal["sync", "envpool"], ...] = ("sync",)
    """Ours on these vector backends; the peer always on its own."""


@dataclasses.dataclass(frozen=True)
class Scaling(Common):
    """Time and memory of the policy step as the batch grows; curvature on a part of the samples."""

    samples: tuple[int, ...] = (2048, 8192, 20_000, 65_536, 200_000)
    """Batches, smallest first."""
    chunk_size: int = 32_768
    """Samples in memory at once."""
    hidden_size: int = 64
    """Units of each of the two layers."""
    fractions: tuple[float, ...] = (1.0, 0.5, 0.25, 0.1, 0.05)
    """Curvature fractions; the first is the one that the others are compared with."""
    rollout: int = 8192
    """Steps of HalfCheetah-v5 that the fractions are of."""


@dataclasses.dataclass(frozen=True)
class Roofline(Common):
    """One Fisher-vector product against the matrix products that it cannot avoid."""

    hidden_sizes: tuple[int, ...] = (64, 256)
    """Each number n: two layers of n units."""
    samples: tuple[int, ...] = (2048, 20_000)
    """Batches."""


@dataclasses.dataclass(frozen=True)
class Serve(Common):
    """Requests per second and latency of the REST server, one observation a request, with and without batching."""

    repeats: int = 3
    model: Path | None = None
    """Folder of an exported model; by default an untrained policy for HalfCheetah-v5's spaces."""
    clients: tuple[int, ...] = (1, 8, 64)
    """Clients that ask at the same time, each as soon as it has its answer."""
    seconds: int = 5
    """Of each turn, after half a second that does not count."""


@dataclasses.dataclass(frozen=True)
class Learn:
    """Train every run of a suite with several seeds, and write tables of what was learned.

    A run that is there is not trained again: call it again to go on after an interruption.
    """

    suite: str = "algorithms"
    """A bundled suite, or a YAML file: environment, name of the settings, settings of train."""
    seeds: int | None = None
    """Seeds for each entry of the suite; None for as many as the entry says, else 5."""
    first_seed: int | None = None
    """The first of them; None for that of each entry, its own seed, else 0."""
    only: tuple[str, ...] = ()
    """Environments, names, or ENVIRONMENT/NAME of the entries to train; all of them by default."""
    episodes: int = 20
    """Episodes of the final evaluation, with the most likely and with sampled actions each."""
    jobs: int = 2
    """Runs at the same time, on one thread each; the seeds' results do not depend on it."""
    runs_dir: Path = Path("runs/learn")
    """Folder of the run folders: RUNS_DIR/SUITE/ENVIRONMENT/NAME/SEED."""
    results_dir: Path = Path("docs/results")
    """Folder of the tables: RESULTS_DIR/SUITE/results.csv and curves.csv; rows of other runs stay."""


@dataclasses.dataclass(frozen=True)
class Results:
    """Print what a suite's runs reached as a Markdown table, or write such tables into documents.

    In a document, a table stands between the lines <!-- results: SUITE --> and <!-- end of results -->, or
    <!-- results: SUITE crossed -->.
    """

    suite: str | None = None
    """Print this suite's table; with --into, write this suite's only."""
    layout: Literal["rows", "crossed"] = "rows"
    """Of the printed table: rows has one for each environment and name, with all statistics and others' results beside
    it; crossed has the names as rows and the environments as columns."""
    into: tuple[Path, ...] = ()
    """Documents to write the tables into."""
    results_dir: Path = Path("docs/results")
    """Folder of the tables, as learn writes them: RESULTS_DIR/SUITE/results.csv; returns to be reached, if there are
    any, in targets.csv beside it."""
    peers: Path | None = None
    """Folder with others' results.csv; by default RESULTS_DIR/peers, if it is there."""


@dataclasses.dataclass(frozen=True)
class Export:
    """Export each environment's median seed, with a card that has the returns of all seeds.

    The median is by the mean return of the final evaluation, with the most likely or with sampled actions, whichever
    is better over the seeds; of an even number of seeds it is the lower middle one.
    """

    suite: str
    """Its name, or YAML file, as for learn."""
    only: tuple[str, ...] = ()
    """Environments, names, or ENVIRONMENT/NAME; needed where an environment has several names."""
    output: Path = Path("saved_models")
    """Folder of the models, OUTPUT/ENVIRONMENT/VERSION; each export adds the next version."""
    runs_dir: Path = Path("runs/learn")
    """Folder of the run folders, as learn left them."""
    results_dir: Path = Path("docs/results")
    """Folder of the tables: RESULTS_DIR/SUITE/results.csv says which seeds there are."""


Command = tyro.conf.OmitSubcommandPrefixes[
    Update | Collect | Train | Scaling | Roofline | Serve | Learn | Results | Export
]

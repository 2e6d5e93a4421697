"""`update`, `images`, `collect` and `train`: measure the speed of training, alone or in turns with sb3-contrib."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from benchmarks import workloads
from benchmarks.peer import TimedPeer, start_peer
from benchmarks.timing import CALLS, Measured, Measurement, Row, Table, in_turns
from benchmarks.workloads import Job

_Backend = Literal["sync", "envpool", "vector"]


@dataclasses.dataclass(frozen=True)
class _AgainstPeer(Measurement):
    """Options of commands that can measure a peer in turns."""

    against_sb3: Path | None = None
    """A Python that has sb3-contrib: measure its TRPO in turns with ours, and print ratios."""

    @contextlib.contextmanager
    def _peer(self) -> Iterator[TimedPeer | None]:
        with contextlib.nullcontext() if self.against_sb3 is None else start_peer(self.against_sb3) as peer:
            yield peer


@dataclasses.dataclass(frozen=True)
class Update(_AgainstPeer):
    """Measure the update on one rollout of HalfCheetah-v5: the policy step, and the whole update with the critic."""

    num_steps: int = 2048
    """Number of samples in the batch."""
    hidden_sizes: tuple[int, ...] = (64, 256)
    """Sizes n of policy and value function, which have two layers of n units."""
    preconditioned: tuple[int, int] = (5, 384)
    """CG iterations and `preconditioner_rank` of a second measurement of ours, in the same turns."""

    def tables(self) -> list[Table]:
        job = Job("update", "HalfCheetah-v5", num_steps=self.num_steps, threads=self.threads)
        title = f"One iteration of {self.num_steps} steps of HalfCheetah-v5, 64-64, part by part"
        with self._peer() as peer:
            rows = [self._row(job, size, work, peer) for size in self.hidden_sizes for work in _WORKS]
        with ExitStack() as stack:
            parts = in_turns(workloads.parts_of_iteration(job, stack), self.repeats)
        return [
            (f"Update, {self.num_steps} samples of HalfCheetah-v5, 15 CG iterations", rows),
            (title, [{"part": name, "ms": time.times(1e3)} for name, time in parts.items()]),
        ]

    def _row(self, job: Job, size: int, work: str, peer: TimedPeer | None) -> Row:
        epochs, ours = _WORKS[work]
        job = job._replace(hidden_sizes=(size, size), value_epochs=epochs)
        iterations, rank = self.preconditioned
        other = ours(job._replace(cg_iterations=iterations, preconditioner_rank=rank))
        measured = _both(ours(job), job, peer, self.repeats, preconditioned=other)
        return {"work": f"{work}, {size}-{size}", **_compared(measured, "ms", 1e3)}


@dataclasses.dataclass(frozen=True)
class Images(_AgainstPeer):
    """Measure the whole update on images of 84x84x4: network of Mnih et al. (2015), 10 CG iterations, 10 epochs."""

    repeats: int = 3
    num_steps: int = 512
    """Number of samples in the batch."""

    def tables(self) -> list[Table]:
        env = "benchmarks.tasks:RandomImages-v0"
        job = Job("update", env, num_steps=self.num_steps, hidden_sizes=(512,), cg_iterations=10, threads=self.threads)
        rows = []
        with self._peer() as peer:
            for curvature, fraction in (("on all samples", 1.0), ("on a tenth, as by default", None)):
                ours = workloads.update(job._replace(curvature_fraction=fraction))
                rows.append({"curvature": curvature, **_compared(_both(ours, job, peer, self.repeats, 2), "ms", 1e3)})
        return [(f"Whole update, {self.num_steps} images", rows)]


_WORKS: dict[str, tuple[int, Callable[[Job], Callable[[], float]]]] = {
    "policy step": (0, workloads.policy_step),
    "whole update": (10, workloads.update),
}
"""Work -> epochs of the value function, and the function that prepares our measurement."""


@dataclasses.dataclass(frozen=True)
class Collect(_AgainstPeer):
    """Compare the speed of collection with stepping the same environments with random actions."""

    envs: tuple[str, ...] = ("Hopper-v5", "HalfCheetah-v5")
    """Gymnasium ids."""
    num_envs: tuple[int, ...] = (1, 8, 32)
    """Numbers of environments that are stepped together."""
    backends: tuple[_Backend, ...] = ("sync", "envpool")
    """Vector backends; envpool is an extra, and vector needs a vector entry point, as CartPole has."""
    rows: int = 2048
    """Steps of a repeat, summed over all environments."""

    def tables(self) -> list[Table]:
        with self._peer() as peer:
            cases = itertools.product(self.envs, self.backends, self.num_envs)
            return [("Collection against random actions", [self._row(*case, peer) for case in cases])]

    def _row(self, env: str, backend: _Backend, num_envs: int, peer: TimedPeer | None) -> Row:
        job = Job("collect", env, num_envs, max(1, self.rows // num_envs), value_epochs=0, threads=self.threads)
        with ExitStack() as stack:
            ways: dict[str, Callable[[], float]] = {
                "ours": workloads.collect(job, backend, stack),
                "raw": workloads.step_at_random(job, backend, stack, gymnasium=backend != "envpool"),
                "acting": _steps_per_second(workloads.act(job), num_envs),
            }
            if backend == "sync":
                ways["raw, no infos"] = workloads.step_at_random(job, backend, stack)
            if peer is not None and backend == "sync":
                ways["sb3"] = functools.partial(peer.run, job)
            measured = in_turns(ways, self.repeats)
        row: Row = {"environment": env, "backend": backend, "environments": num_envs}
        row |= {f"{name}, steps/s": figure for name, figure in measured.items()}
        for name in ("raw", "raw, no infos"):
            if name in measured:
                row[f"ours / {name}"] = measured["ours"].median / measured[name].median
        limits = [measured[name].median for name in ("raw", "acting")]
        # Stepping and acting take turns.
        row["ours / both in turns"] = measured["ours"].median * sum(1 / limit for limit in limits)
        return row


def _steps_per_second(seconds_of_all: Callable[[], float], num_envs: int) -> Callable[[], float]:
    return lambda: num_envs / seconds_of_all()


@dataclasses.dataclass(frozen=True)
class Train(_AgainstPeer):
    """Measure training end to end, in whole iterations except the first one, which compiles."""

    repeats: int = 3
    rows: int = 2048
    """Steps of an iteration, summed over all environments."""
    iterations: int = 6
    """Iterations of a repeat."""
    backends: tuple[Literal["sync", "envpool"], ...] = ("sync",)
    """Our vector backends; the peer keeps its own."""

    def tables(self) -> list[Table]:
        rows = []
        with self._peer() as peer:
            for env, num_envs in (("HalfCheetah-v5", 1), ("Hopper-v5", 1), ("CartPole-v1", 1), ("HalfCheetah-v5", 8)):
                num_steps = max(1, self.rows // num_envs)
                job = Job("train", env, num_envs, num_steps, iterations=self.iterations, threads=self.threads)
                for backend in self.backends:
                    with ExitStack() as stack:
                        measured = _both(workloads.train(job, backend, stack), job, peer, self.repeats, calls=1)
                    row = {"environment": env, "environments": num_envs, "backend": backend}
                    rows.append(row | _compared(measured, "steps/s", 1.0))
        return [(f"Training end to end, {self.rows} steps an iteration", rows)]


def _both(
    ours: Callable[[], float],
    job: Job,
    peer: TimedPeer | None,
    repeats: int,
    calls: int = CALLS,
    **others: Callable[[], float],
) -> dict[str, Measured]:
    ways = {"ours": ours, **others}
    if peer is not None:
        ways["sb3"] = functools.partial(peer.run, job)
    return in_turns(ways, repeats, calls=calls)


def _compared(measured: dict[str, Measured], unit: Literal["ms", "steps/s"], scale: float) -> Row:
    row: Row = {f"{name}, {unit}": figure.times(scale) for name, figure in measured.items()}
    for name, figure in measured.items():
        if "sb3" in measured and name != "sb3":
            ratio = measured["sb3"].median / figure.median
            row["times as fast" if name == "ours" else f"{name}, times as fast"] = ratio if unit == "ms" else 1 / ratio
    return row

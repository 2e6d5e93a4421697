"""`memory`: measure the cost of a memory in acting, collection and update, and until the first update is compiled."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack

from benchmarks import workloads
from benchmarks.timing import Measurement, Row, Table, in_turns, seconds
from benchmarks.workloads import Job
from tf_trpo.models.cells import MemoryKind


@dataclasses.dataclass(frozen=True)
class Memory(Measurement):
    """Compare the speed of a policy and value function with a memory of 64 units to the same without a memory."""

    repeats: int = 3
    env: str = "HalfCheetah-v5"
    """Gymnasium id."""
    num_envs: int = 8
    """Number of environments that are stepped together."""
    rows: int = 2048
    """Steps of an iteration, summed over all environments."""
    segment_lengths: tuple[int, ...] = (64, 128)
    """Lengths of the segments through which gradients flow back; each is measured."""

    def tables(self) -> list[Table]:
        job = Job("update", self.env, self.num_envs, max(1, self.rows // self.num_envs), threads=self.threads)
        kinds: tuple[MemoryKind, ...] = ("gru", "lstm")
        jobs = {"none": job}
        for kind in kinds:
            for length in self.segment_lengths:
                jobs[f"{kind}, segments of {length}"] = job._replace(memory=kind, segment_length=length)
        first = {name: seconds(lambda job=job: workloads.update(job)()) for name, job in jobs.items()}  # type: ignore[misc]
        with ExitStack() as stack:
            acted, collected, updated, trained = (
                in_turns({name: prepare(job) for name, job in jobs.items()}, self.repeats, calls=calls)
                for prepare, calls in (
                    (workloads.act, 3),
                    (lambda job: workloads.collect(job, "sync", stack), 3),
                    (workloads.update, 3),
                    (lambda job: workloads.train(job, "sync", stack), 1),
                )
            )
        rows: list[Row] = [
            {
                "memory": name,
                "acting, us/step": acted[name].times(1e6),
                "collection, steps/s": collected[name],
                "update, ms": updated[name].times(1e3),
                "training, steps/s": trained[name],
                "first rollout and update, s": first[name],
            }
            for name in jobs
        ]
        return [(f"{self.rows} steps of {self.env} in {self.num_envs} environments, 64-64", rows)]

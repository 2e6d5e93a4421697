"""A crew of workers of any kind: its protocol, and when a worker is slow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from tf_trpo.optimizers.parts import Request
    from tf_trpo.workers.worker import Call

SLOW = 3.0
"""Multiple of the usual duration after which work is also given to somebody else."""
SLOW_SECONDS = 1.0
"""Seconds below which nothing counts as slow."""
POLL = 0.2
"""Seconds of a wait for calls, after which slow and lost workers are looked for."""


class WorkerLostError(RuntimeError):
    """A worker's process or machine is gone, and the answer to its call is lost."""


class Crew(Protocol):
    """Workers, each in a process of its own, by number. They step the environments of shards and compute requests.

    Attributes:
      size: number of workers.
      starts: by worker, how many processes it has had so far.
    """

    size: int
    starts: Counter[int]

    def start(self, worker: int) -> Hashable:
        """Start a worker, or start it again; the result is its `Setup.fingerprint`."""

    def dismiss(self, worker: int) -> None:
        """End a worker for good."""

    def share(self, value: Any) -> Any:
        """Store a value, such as the policy's weights, for all workers, and return a reference to it."""

    def fetch(self, reference: Any) -> Any:
        """Return the value of a reference."""

    def call(self, worker: int, call: Call, shared: Any, **options: Any) -> Hashable:
        """Make a call, with the weights that were shared, and the options of `ShardWorker.play`."""

    def compute(self, worker: int, request: Request | None, threads: int) -> Hashable:
        """Start `ShardWorker.compute` on a worker. A request of None only tests whether the worker answers."""

    def wait(self, pending: Iterable[Hashable], timeout: float) -> list[Hashable]:
        """Return the pending calls that have ended; wait for the first one, at most `timeout` seconds."""

    def result(self, ended: Hashable) -> Any:
        """Return the result of a call that has ended; raise WorkerLostError if its worker was lost."""

    def close(self) -> None:
        """End all workers."""

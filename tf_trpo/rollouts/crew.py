"""Workers of any kind: their protocol, and when one of them is slow."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, Protocol

SLOW = 3.0
"""Multiple of the usual duration after which work is also given to somebody else."""
SLOW_SECONDS = 1.0
"""Seconds below which nothing counts as slow."""
POLL = 0.2
"""Seconds of a wait for calls, after which slow and lost workers are looked for."""


class WorkerLostError(RuntimeError):
    """A worker's process or machine is gone, and the answer to its call is lost."""


class Workers(Protocol):
    """Workers, each in a process of its own, by number.

    Attributes:
      size: number of workers.
    """

    size: int

    def wait(self, pending: Iterable[Hashable], timeout: float) -> list[Hashable]:
        """Return the pending calls that have ended; wait for the first one, at most `timeout` seconds."""

    def result(self, ended: Hashable) -> Any:
        """Return the result of a call that has ended; raise WorkerLostError if its worker was lost."""

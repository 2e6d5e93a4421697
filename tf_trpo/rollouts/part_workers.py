"""Update parts on workers: which worker computes which part, and what to do about lost, slow and differing workers."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.optimizers.parts import GRADIENT, Given, PartComputer, Request
from tf_trpo.rollouts.worker import WorkerLostError

_logger = logging.getLogger(__name__)
_SLOW = 3.0
"""Multiple of the duration of a function's last round after which missing parts are also computed elsewhere."""
_SLOW_SECONDS = 1.0
"""Seconds below which no round counts as slow."""
_PATIENCE = 60.0
"""Seconds that a worker may take to load TensorFlow, and that the first round of a function may take."""
_POLL = 0.2


class ComputingCrew(Protocol):
    """Workers that compute requests, by number, like the workers of a `Crew`.

    Attributes:
      size: number of workers.
    """

    size: int

    def share(self, value: Any) -> Any:
        """Store a value for all workers, and return a reference to it."""

    def fetch(self, reference: Any) -> Any:
        """Return the value of a reference."""

    def compute(self, worker: int, request: Request | None, threads: int) -> Hashable:
        """Start `ShardWorker.compute` on a worker. A request of None only tests whether the worker answers."""

    def wait(self, pending: Iterable[Hashable], timeout: float) -> list[Hashable]:
        """Return the pending calls that have ended; wait for the first one, at most `timeout` seconds."""

    def result(self, ended: Hashable) -> Any:
        """Return the result of a call that has ended; raise WorkerLostError if its worker was lost."""


class PartWorkers:
    """A `PartCrew` of workers. This process computes parts for which there is no worker.

    A part goes to the same worker in each round, because this worker has the part's rows. If the worker is lost,
    another worker fetches the rows and computes the part. If the worker takes three times as long as the last round, an
    idle worker also computes the part, or this process does. A result depends on its request only, so it does not
    matter which answer is used.

    Args:
      crew: the workers.
      allow_different: also use workers whose gradients have other bits than those of this process.
      clock: returns the time in seconds.

    Attributes:
      sent: bytes of all values stored for the workers.
      received: bytes of all results from workers.
    """

    def __init__(
        self, crew: ComputingCrew, *, allow_different: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.sent = self.received = 0
        self._crew, self._allow_different, self._clock = crew, allow_different, clock
        self._home = PartComputer(crew.fetch)
        self._nothing = Given("nothing", crew.share([]))
        self._busy: dict[Hashable, int] = {}
        """Calls that no round waits for any more, and their workers."""
        self._lost: set[int] = set()
        self._checked: set[int] = set()
        self._refused: set[int] = set()
        self._seconds: dict[str, float] = {}

    def put(self, value: Any) -> Any:
        self.sent += len(value) if isinstance(value, bytes) else _bytes(value)
        return self._crew.share(value)

    def compute(self, requests: Sequence[Request]) -> list[list[np.ndarray]]:
        self._look_around()
        self._check_new(requests[0])
        began, name = self._clock(), requests[0].name
        longest = max(_SLOW_SECONDS, _SLOW * self._seconds[name]) if name in self._seconds else _PATIENCE
        results: dict[int, list[np.ndarray]] = {}
        running: dict[Hashable, tuple[int, int]] = {}
        while len(results) < len(requests):
            given = {place for _, place in running.values()}
            for place in [place for place in range(len(requests)) if place not in results and place not in given]:
                worker = self._worker_for(place)
                if worker is None:
                    results[place] = self._home.compute(requests[place])
                else:
                    running[self._call(worker, requests[place])] = worker, place
            if self._clock() - began > longest:
                self._help(requests, running, results)
            for ended in self._crew.wait(list(running), _POLL) if running else ():
                worker, place = running.pop(ended)
                found = self._result(worker, ended)
                if found is not None:
                    self.received += _bytes(found)
                    results.setdefault(place, found)
        self._busy.update({pending: worker for pending, (worker, _) in running.items()})
        self._seconds[name] = self._clock() - began
        return [results[place] for place in range(len(requests))]

    def _help(
        self,
        requests: Sequence[Request],
        running: dict[Hashable, tuple[int, int]],
        results: dict[int, list[np.ndarray]],
    ) -> None:
        """Give one part whose worker is slow to an idle worker too, or compute it in this process."""
        places = [place for _, place in running.values()]
        late = [place for place in range(len(requests)) if place not in results and places.count(place) == 1]
        idle = set(self._usable()) - {worker for worker, _ in running.values()}
        if late and idle:
            worker = min(idle)
            running[self._call(worker, requests[late[0]])] = worker, late[0]
        elif late:
            results[late[0]] = self._home.compute(requests[late[0]])

    def _look_around(self) -> None:
        """Take late answers, and test whether lost workers answer again."""
        for ended in self._crew.wait(list(self._busy), 0.0) if self._busy else ():
            self._result(self._busy.pop(ended), ended)
        for worker in self._lost - set(self._busy.values()):
            self._busy[self._crew.compute(worker, None, _threads())] = worker
        self._lost.clear()

    def _check_new(self, request: Request) -> None:
        """Let each new or restarted worker compute a gradient that this process computes too, and compare the bits."""
        new = set(range(self._crew.size)) - self._checked - self._refused - self._lost - set(self._busy.values())
        if not new:
            return
        probe = request._replace(name=GRADIENT, arguments=self._nothing)
        running = {self._call(worker, probe): worker for worker in sorted(new)}
        expected, patience = self._home.compute(probe), self._clock() + _PATIENCE
        while running and self._clock() < patience:
            for ended in self._crew.wait(list(running), _POLL):
                worker = running.pop(ended)
                found = self._result(worker, ended)
                if found is not None:
                    self._judge(worker, [array.tobytes() for array in found] == [each.tobytes() for each in expected])
        self._busy.update(running)

    def _judge(self, worker: int, same: bool) -> None:
        if not same:
            what = f"worker {worker} does not compute gradients as this process does"
            if not self._allow_different:
                self._refused.add(worker)
                _logger.warning("%s, and is not used for the update; allow_different_workers allows it", what)
                return
            _logger.warning("%s; it is allowed, and the results agree with those of one process up to rounding", what)
        self._checked.add(worker)

    def _usable(self) -> list[int]:
        return sorted(self._checked - set(self._busy.values()))

    def _worker_for(self, place: int) -> int | None:
        """Choose the worker that has a part's rows, or else another one; None if no worker can be used."""
        usable, own = self._usable(), place % self._crew.size
        return own if own in usable else usable[place % len(usable)] if usable else None

    def _call(self, worker: int, request: Request) -> Hashable:
        return self._crew.compute(worker, request, _threads())

    def _result(self, worker: int, ended: Hashable) -> list[np.ndarray] | None:
        """Return the result of a call that has ended; None if its worker was lost."""
        try:
            found: list[np.ndarray] = self._crew.result(ended)
        except WorkerLostError as error:
            if worker in self._checked:
                _logger.warning("worker %d was lost (%s): others compute its parts of the batch", worker, error)
            self._checked.discard(worker)
            self._lost.add(worker)
            return None
        return found


def _bytes(arrays: Sequence[np.ndarray]) -> int:
    return sum(array.nbytes for array in arrays)


def _threads() -> int:
    """Return the number of TensorFlow's threads in this process, on which the last bits of sums depend."""
    chosen: int = tf.config.threading.get_intra_op_parallelism_threads()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return chosen or int(os.environ.get("TF_NUM_INTRAOP_THREADS", 0)) or cores

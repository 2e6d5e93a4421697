"""Update parts on workers: which worker computes which part, and what to do about lost, slow and differing workers."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tf_trpo.cores import available_cores
from tf_trpo.environments.failures import WorkersLostError
from tf_trpo.lazy import tensorflow as tf
from tf_trpo.optimizers.parted_objective import Home
from tf_trpo.optimizers.parts import GRADIENT, PRODUCT, Given, Request
from tf_trpo.workers.crew import POLL, SLOW, SLOW_SECONDS, Crew, WorkerLostError

_logger = logging.getLogger(__name__)
_PATIENCE = 60.0
"""Seconds that a worker may take to load TensorFlow, and that the first round of a function may take."""


class _Late(NamedTuple):
    """A call that no round waits for."""

    worker: int
    expected: list[bytes] | None = None
    """Bytes of the right results, if the call checks a new worker."""
    starts: int = 0
    """Number of the process that is checked."""


class PartWorkers:
    """A `PartCrew` of workers. This process computes parts for which there is no worker.

    A new worker, or a new process of a worker that was lost, first computes a gradient that this process computes too.
    It gets parts if the bits are the same. The first round waits for the first usable worker, and then as long
    again for the others, at most a minute in all. Later rounds do not wait for new workers.

    A part goes to the same worker in each round, because this worker has the part's rows. If the worker is lost,
    another worker fetches the rows and computes the part. If the worker takes three times as long as the last round, an
    idle worker also computes the part, or this process does. A result depends on its request only, so it does not
    matter which answer is used. A worker whose bits differ or that raises an error gets no further parts, until it is
    another process.

    Args:
      crew: the workers.
      allow_different: also use workers whose gradients have other bits than those of this process.
      clock: returns the time in seconds.

    Attributes:
      sent: bytes of all functions and arrays that were stored for the workers. Each value counts once; the copies that
        each machine fetches, the requests and the crew's own messages do not count.
      received: bytes of all arrays that have arrived from workers, with late results and those of checks. The crew's
        own messages do not count.
    """

    def __init__(
        self, crew: Crew, *, allow_different: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.sent = self.received = 0
        self._crew, self._allow_different, self._clock = crew, allow_different, clock
        self._home = Home(crew.fetch)
        self._nothing = Given("nothing", crew.share([]))
        self._late: dict[Hashable, _Late] = {}
        self._probe: Request | None = None
        """Request for a gradient, which checks new workers. Its rows are SAMPLES, because CURVATURE has no actions."""
        self._waits = True
        """Whether the next check waits for workers."""
        self._lost: set[int] = set()
        self._checked: dict[int, int] = {}
        """By worker, the number of its process that was checked."""
        self._refused: dict[int, int] = {}
        """The same for processes that get no parts."""
        self._seconds: dict[str, float] = {}

    def put(self, value: Any) -> Any:
        self.sent += len(value) if isinstance(value, bytes) else _bytes(value)
        return self._crew.share(value)

    def compute(self, requests: Sequence[Request]) -> list[list[np.ndarray]]:
        if not requests[0].name.startswith(PRODUCT):
            self._probe = requests[0]._replace(name=GRADIENT, arguments=self._nothing)
        self._look_around()
        self._check_new()
        began, name = self._clock(), requests[0].name
        longest = max(SLOW_SECONDS, SLOW * self._seconds[name]) if name in self._seconds else _PATIENCE
        results: dict[int, list[np.ndarray]] = {}
        running: dict[Hashable, tuple[int, int]] = {}
        while len(results) < len(requests):
            given = {place for _, place in running.values()}
            missing = [place for place in range(len(requests)) if place not in results and place not in given]
            workers = {place: self._worker_for(place) for place in missing}
            for place, worker in workers.items():
                if worker is not None:
                    running[self._call(worker, requests[place])] = worker, place
            own = [place for place, worker in workers.items() if worker is None]
            results.update(zip(own, self._home.compute([requests[place] for place in own]), strict=True))
            if self._clock() - began > longest:
                self._help(requests, running, results)
            for ended in self._crew.wait(list(running), POLL) if running else ():
                worker, place = running.pop(ended)
                found = self._result(worker, ended)
                if found is not None:
                    results.setdefault(place, found)
        self._late.update({pending: _Late(worker) for pending, (worker, _) in running.items()})
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
            results[late[0]] = self._home.compute([requests[late[0]]])[0]

    def _look_around(self) -> None:
        """Take late answers, forget the checks of processes that are gone, and test if lost workers answer again."""
        self._take_late(0.0)
        # A process that was lost in a rollout has been replaced, perhaps on another machine.
        starts = self._crew.starts
        self._checked, self._refused = (
            {worker: made for worker, made in known.items() if starts[worker] == made}
            for known in (self._checked, self._refused)
        )
        for worker in self._lost - self._refused.keys() - self._occupied():
            self._late[self._crew.compute(worker, None, _threads())] = _Late(worker)
        self._lost.clear()

    def _take_late(self, timeout: float) -> None:
        for ended in self._crew.wait(list(self._late), timeout) if self._late else ():
            worker, expected, starts = self._late.pop(ended)
            found = self._result(worker, ended)
            if found is not None and expected is not None:
                self._judge(worker, starts, [array.tobytes() for array in found] == expected)

    def _check_new(self) -> None:
        """Let each new or restarted worker compute a gradient that this process computes too."""
        new = set(range(self._crew.size)) - self._checked.keys() - self._refused.keys() - self._lost - self._occupied()
        if not new or self._probe is None:
            return
        calls = {self._call(worker, self._probe): worker for worker in sorted(new)}
        expected = [array.tobytes() for array in self._home.compute([self._probe])[0]]
        starts = self._crew.starts
        self._late.update({call: _Late(worker, expected, starts[worker]) for call, worker in calls.items()})
        if self._waits:
            self._await_workers()

    def _await_workers(self) -> None:
        """Wait for the first usable worker, and then as long again for the others, so that parts need not move."""
        began, self._waits = self._clock(), False
        latest = began + _PATIENCE
        while self._late and not self._checked and self._clock() < latest:
            self._take_late(POLL)
        now = self._clock()
        latest = min(latest, now + max(SLOW_SECONDS, now - began))
        while self._late and self._clock() < latest:
            self._take_late(POLL)

    def _judge(self, worker: int, starts: int, same: bool) -> None:
        if not same:
            what = f"worker {worker} does not compute gradients as this process does"
            if not self._allow_different:
                self._refused[worker] = starts
                _logger.warning("%s, and is not used for the update; allow_different_workers allows it", what)
                return
            _logger.warning("%s; it is allowed, and the results agree with those of one process up to rounding", what)
        self._checked[worker] = starts

    def _occupied(self) -> set[int]:
        return {late.worker for late in self._late.values()}

    def _usable(self) -> list[int]:
        return sorted(self._checked.keys() - self._occupied())

    def _worker_for(self, place: int) -> int | None:
        """Choose the worker that has a part's rows, or else another one; None if no worker can be used."""
        usable, own = self._usable(), place % self._crew.size
        return own if own in usable else usable[place % len(usable)] if usable else None

    def _call(self, worker: int, request: Request) -> Hashable:
        return self._crew.compute(worker, request, _threads())

    def _result(self, worker: int, ended: Hashable) -> list[np.ndarray] | None:
        """Return the result of a call that has ended; None if its worker was lost or raised an error."""
        try:
            found: list[np.ndarray] = self._crew.result(ended)
        except WorkersLostError:
            raise
        except WorkerLostError as error:
            if worker in self._checked:
                _logger.warning("worker %d was lost (%s): others compute its parts of the batch", worker, error)
            self._checked.pop(worker, None)
            self._lost.add(worker)
            return None
        except Exception as error:
            # An error of the request itself is raised again when this process computes the part.
            if worker not in self._refused:
                reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
                _logger.warning("worker %d is not used for the update any more (%s)", worker, reason)
            self._checked.pop(worker, None)
            self._refused[worker] = self._crew.starts[worker]
            return None
        self.received += _bytes(found)
        return found


def _bytes(arrays: Sequence[np.ndarray]) -> int:
    return sum(array.nbytes for array in arrays)


def _threads() -> int:
    """Return the number of TensorFlow's threads in this process, on which the last bits of sums depend."""
    chosen: int = tf.config.threading.get_intra_op_parallelism_threads()
    return chosen or int(os.environ.get("TF_NUM_INTRAOP_THREADS", 0)) or available_cores()

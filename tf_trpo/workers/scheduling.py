"""Which worker answers which call: shards stay with their workers, and go to others if a worker is lost or slow."""

from __future__ import annotations

import collections
import dataclasses
import logging
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from tf_trpo.environments import EnvironmentFailedError
from tf_trpo.environments.failures import WorkersLostError
from tf_trpo.workers.crew import POLL, SLOW, SLOW_SECONDS, Crew, WorkerLostError
from tf_trpo.workers.homes import Homes
from tf_trpo.workers.rounds import Patience, Round
from tf_trpo.workers.worker import Answer, Call

_logger = logging.getLogger(__name__)
_MOST_DEATHS = 5
"""Workers lost with the same call after which the environments are reported to kill their processes."""
_GRACE = 30.0
"""Seconds that a run waits for the other workers once the first has started."""
_MOST_STARTS = 8
"""Consecutive losses of a worker during its start after which it is not started again; a few may be chance."""


@dataclasses.dataclass
class _Running:
    worker: int
    call: Call | None
    """None while the worker starts."""
    begun: float
    can_begin: bool = False
    """Whether the worker may begin new episodes if the present ones cannot be replayed."""


class Scheduler:
    """Gives calls to workers, takes their answers in any order, and never drops a call.

    If its worker is lost, a call is made again at once. If its worker takes three times the median, a call is also made
    to a second worker, and the first answer counts.

    Args:
      crew: the workers.
      check: called with each worker that has started and its fingerprint; returns why the worker must not be used, or
        None.
      clock: returns the time in seconds.

    Raises:
      ValueError: the first worker to start, or one that starts before the first call, must not be used.
      WorkersLostError: no worker has started; `play` raises it, too.
    """

    def __init__(
        self,
        crew: Crew,
        check: Callable[[int, Mapping[str, str]], str | None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._crew, self._check, self._clock = crew, check, clock
        self._running: dict[Hashable, _Running] = {}
        self._free: set[int] = set()
        self._freed: set[int] = set()
        """Workers that became free after work was last searched for them."""
        self._homes = Homes()
        self._starts: collections.Counter[int] = collections.Counter()
        """By worker, consecutive losses during its start."""
        self._begun = False
        self._usual: dict[str, float] = {}
        """By kind of work, the median seconds of a call in its last round."""
        self._patience = Patience(clock)
        self._dismissed = ""
        """Why the last dismissed worker was dismissed."""
        self._looked = -float("inf")
        for worker in range(crew.size):
            self._start(worker)
        self._await_workers()

    def play(
        self, calls: Sequence[Call], state_of: Callable[[int], dict[str, Any]], shared: Any = None, *, move: bool = True
    ) -> list[Answer]:
        """Return the answers to calls, in their order.

        Args:
          calls: at most one for each shard.
          state_of: shard -> state of its episodes.
          shared: weights that the crew has shared.
          move: whether shards may move to other workers although their own workers are not lost.

        Raises:
          WorkersLostError: no usable worker is left.
        """
        work = calls[0].work if calls else ""
        self._round = Round(calls, state_of, shared, move, self._usual.get(work))
        self._homes.settle([call.shard for call in calls], self._free, move)
        for call in calls:
            self._round.wait_for(call, self._homes)
        self._freed |= self._free
        while len(self._round.answers) < len(calls):
            self._give_work()
            for ended in self._crew.wait(list(self._running), POLL):
                self._take(ended)
            self._watch()
        if self._round.seconds:
            self._usual[work] = statistics.median(self._round.seconds)
        return [self._round.answers[call.shard] for call in calls]

    def _await_workers(self) -> None:
        """Wait for the first worker, and then at most 30 s for the others."""
        self._round = Round((), _no_state, None, False, None)
        patience = float("inf")
        while any(running.call is None for running in self._running.values()) and self._clock() < patience:
            for ended in self._crew.wait(list(self._running), POLL):
                refusal = self._take(ended)
                if refusal is not None:
                    raise ValueError(refusal)
            self._watch()
            if self._free and patience == float("inf"):
                patience = self._clock() + _GRACE
        if len(self._free) < self._crew.size:
            _logger.warning(
                "%d of %d workers have started; the others join once they start", len(self._free), self._crew.size
            )
        self._begun = True

    def _watch(self) -> None:
        """Raise WorkersLostError if there is no worker, or none has started for too long."""
        if not (self._running or self._free):
            raise WorkersLostError(f"no worker is left: {self._dismissed}")
        self._patience.check(bool(self._free) or any(each.call is not None for each in self._running.values()))

    def _start(self, worker: int) -> None:
        self._running[self._crew.start(worker)] = _Running(worker, None, self._clock())

    def _give_work(self) -> None:
        """Give each free worker a call: for its own shards first, then for shards without a worker, then a slow one."""
        if self._round.waiting:
            for worker in sorted(self._free if self._round.homeless else self._freed & self._free):
                call = self._round.next_for(worker)
                if call is not None:
                    self._call(worker, call, can_begin=True)
        self._freed.clear()
        if self._free and self._clock() - self._looked >= POLL:
            self._looked = self._clock()
            self._help_slow()

    def _help_slow(self) -> None:
        """Give calls of slow workers to free workers, too."""
        slow = self._slow()
        for running in slow.values():
            # Other workers may take the slow worker's waiting calls, too.
            others = [shard for shard in self._homes.shards_of(running.worker) if shard in self._round.waiting]
            self._homes.drop(others)
            self._round.homeless.extend(sorted(others))
        helped = [shard for shard in slow if shard not in self._round.cannot_move]
        for worker in sorted(self._free):
            call = self._round.next_for(worker)
            if call is not None:
                self._call(worker, call, can_begin=True)
            elif helped:
                again = slow[helped.pop(0)].call
                assert again is not None
                self._call(worker, again, can_begin=False)

    def _slow(self) -> dict[int, _Running]:
        """Return the slow calls that only one worker is at, by shard."""
        seconds = self._round.usual_seconds()
        if not self._round.move or seconds is None:
            return {}
        longest = max(SLOW_SECONDS, SLOW * seconds)
        made = [
            (each.call.shard, each) for each in self._running.values() if each.call and self._round.wants(each.call)
        ]
        counts = collections.Counter(shard for shard, _ in made)
        return {shard: each for shard, each in made if counts[shard] == 1 and self._clock() - each.begun > longest}

    def _call(self, worker: int, call: Call, *, can_begin: bool, with_state: bool = False) -> None:
        state = None
        if call.at is not None and (with_state or self._homes.of(call.shard) != worker):
            state = self._round.state_of(call.shard)
        kept = self._homes.shards_of(worker)
        made = self._crew.call(worker, call, self._round.shared, state=state, begin=can_begin, kept=kept)
        self._running[made] = _Running(worker, call, self._clock(), can_begin)
        self._free.discard(worker)

    def _take(self, ended: Hashable) -> str | None:
        """Handle an ended call; return why a worker that has just started must not be used, or None."""
        running = self._running.pop(ended)
        try:
            result = self._crew.result(ended)
        except WorkerLostError as error:
            self._lose(running, str(error))
            return None
        except Exception as error:
            if running.call is not None or not self._begun:
                raise
            # Others have started with the same setup: the fault is on its machine.
            self._dismiss(running.worker, f"it cannot start: {' '.join(str(error).split()) or type(error).__name__}")
            return None
        if running.call is None:
            self._starts.pop(running.worker, None)
            return self._welcome(running.worker, result)
        self._free.add(running.worker)
        self._freed.add(running.worker)
        # A late answer may be one of an earlier round.
        if self._round.wants(running.call):
            self._accept(running, running.call, result)
        return None

    def _accept(self, running: _Running, call: Call, answer: Answer) -> None:
        if answer.found:
            self._round.answers[call.shard] = answer
            self._round.seconds.append(self._clock() - running.begun)
            self._homes.put(call.shard, running.worker)
        elif answer.exact:
            self._call(running.worker, call, can_begin=running.can_begin, with_state=True)
        else:
            # A second worker cannot replay the episodes: only the first one can continue them.
            self._round.cannot_move.add(call.shard)
            self._retry_unless_made(call)

    def _lose(self, running: _Running, reason: str) -> None:
        self._free.discard(running.worker)
        left = self._homes.shards_of(running.worker)
        self._homes.drop(left)
        self._round.homeless.extend(sorted(left & self._round.waiting.keys()))
        call = running.call
        self._starts[running.worker] += call is None
        if self._starts[running.worker] >= _MOST_STARTS:
            what = "while it started, when it makes and plays the environment"
            self._dismiss(running.worker, f"it was lost {_MOST_STARTS} times {what} ({reason})")
            return
        self._start(running.worker)
        _logger.warning(
            "worker %d was lost (%s): others do its work until it has started again", running.worker, reason
        )
        if call is None or not self._round.wants(call):
            return
        self._round.deaths[call.shard] += 1
        if self._round.deaths[call.shard] >= _MOST_DEATHS:
            message = f"{_MOST_DEATHS} workers died one after the other while they stepped the environments"
            self._round.answers[call.shard] = Answer(error=EnvironmentFailedError(message))
        else:
            self._retry_unless_made(call)

    def _retry_unless_made(self, call: Call) -> None:
        """Queue a call again, unless another worker is at it."""
        if not any(each.call is call for each in self._running.values()):
            self._round.wait_for(call, self._homes)
            self._freed |= self._free

    def _welcome(self, worker: int, fingerprint: Mapping[str, str]) -> str | None:
        refusal = self._check(worker, fingerprint)
        if refusal is None:
            self._free.add(worker)
            self._freed.add(worker)
        else:
            self._dismiss(worker, refusal)
        return refusal

    def _dismiss(self, worker: int, reason: str) -> None:
        self._crew.dismiss(worker)
        self._dismissed = f"worker {worker} is not used: {reason}"
        _logger.warning(self._dismissed)


def _no_state(shard: int) -> dict[str, Any]:
    raise AssertionError("nothing is played")

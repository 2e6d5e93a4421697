"""Scheduling of calls to workers: shards stay with their workers, and move to others if a worker is lost or slow."""

from __future__ import annotations

import collections
import dataclasses
import logging
import statistics
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from tf_trpo.environments import EnvironmentFailedError
from tf_trpo.rollouts.worker import Answer, Call, WorkerLostError

_logger = logging.getLogger(__name__)
_MOST_DEATHS = 5
"""Workers lost with the same call after which the environments are reported to kill their processes."""
_SLOW = 3.0
"""Multiple of the median duration after which a call is also made to a second worker."""
_SLOW_SECONDS = 1.0
"""Seconds below which no call counts as slow."""
_POLL = 0.2
_GRACE = 30.0
"""Seconds that a run waits for the other workers once the first has started."""


class Crew(Protocol):
    """Numbered workers, each in its own process.

    Attributes:
      size: number of workers.
    """

    size: int

    def start(self, worker: int) -> Hashable:
        """Start or restart a worker; the result is its `Setup.fingerprint`."""

    def dismiss(self, worker: int) -> None:
        """End a worker permanently."""

    def call(self, worker: int, call: Call, shared: Any, **options: Any) -> Hashable:
        """Make a call with the shared weights and the options of `ShardWorker.play`."""

    def wait(self, pending: Iterable[Hashable], timeout: float) -> list[Hashable]:
        """Return the pending calls that have ended; wait at most `timeout` seconds for the first one."""

    def result(self, ended: Hashable) -> Any:
        """Return the result of a call that has ended; raise WorkerLostError if its worker was lost."""


@dataclasses.dataclass
class _Running:
    worker: int
    call: Call | None
    """None while the worker starts."""
    begun: float
    can_begin: bool = False
    """Whether the worker may begin new episodes if the present ones cannot be replayed."""


class Scheduler:
    """Gives calls to workers, takes their answers as they come, and never drops a call.

    If a worker is lost, its call is made again at once. If a worker takes three times as long as the others, its call
    is made to a second worker, and the first answer counts.

    Args:
      crew: the workers.
      check: (number, fingerprint) of a worker that has started -> reason why it must not be used, or None.
      clock: returns the time in seconds.

    Raises:
      ValueError: the first worker to start, or one that starts before the first call, must not be used.
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
        self._home: dict[int, int] = {}
        """By shard, the worker whose environments are in the state of the shard's episodes."""
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
          EnvironmentFailedError: no usable worker is left.
        """
        self._round = _Round(calls, state_of, shared, move)
        self._settle([call.shard for call in calls], move)
        while len(self._round.answers) < len(calls):
            self._give_work()
            for ended in self._crew.wait(list(self._running), _POLL):
                self._take(ended)
            if not (self._running or self._free):
                raise EnvironmentFailedError("no worker is left")
        return [self._round.answers[call.shard] for call in calls]

    def _await_workers(self) -> None:
        """Wait for the first worker, and then at most 30 s for the others."""
        self._round = _Round((), _no_state, None, False)
        patience = float("inf")
        while any(running.call is None for running in self._running.values()) and self._clock() < patience:
            for ended in self._crew.wait(list(self._running), _POLL):
                refusal = self._take(ended)
                if refusal is not None:
                    raise ValueError(refusal)
            if self._free and patience == float("inf"):
                patience = self._clock() + _GRACE
        if len(self._free) < self._crew.size:
            _logger.warning(
                "%d of %d workers have started; the others join once they start", len(self._free), self._crew.size
            )

    def _start(self, worker: int) -> None:
        self._running[self._crew.start(worker)] = _Running(worker, None, self._clock())

    def _settle(self, shards: Sequence[int], move: bool) -> None:
        """Assign shards without a worker to one, and, if shards may move, level the numbers of shards per worker."""
        count = collections.Counter(dict.fromkeys(sorted(self._free), 0))
        count.update(home for home in self._home.values() if home in self._free)
        for shard in shards:
            if self._free and self._home.get(shard) not in self._free:
                self._home[shard] = min(count, key=lambda worker: count[worker])
                count[self._home[shard]] += 1
        while move and count:
            [(busiest, most), *_], (idlest, least) = count.most_common(1), min(count.items(), key=lambda each: each[1])
            if most - least < 2:
                break
            self._home[max(shard for shard, home in self._home.items() if home == busiest)] = idlest
            count[busiest] -= 1
            count[idlest] += 1

    def _give_work(self) -> None:
        """Give each free worker a call: for its own shards first, then for shards without a worker, then a slow one."""
        for worker in sorted(self._free):
            call, can_begin = self._next_call(worker)
            if call is not None:
                self._call(worker, call, can_begin=can_begin)

    def _next_call(self, worker: int) -> tuple[Call | None, bool]:
        waiting = self._round.waiting
        # A worker that starts, or is still at a call whose answer is no longer wanted, may take long.
        at_work = self._free | {each.worker for each in self._running.values() if self._round.wants(each.call)}
        for shard in waiting:
            home = self._home.get(shard)
            if home == worker or home not in at_work:
                return waiting.pop(shard), True
        for shard, running in self._slow().items():
            # Other workers may take the slow worker's waiting calls, too.
            for other in [other for other, home in self._home.items() if home == running.worker and other in waiting]:
                del self._home[other]
            if running.call is not None and shard not in self._round.cannot_move:
                return running.call, False
        return None, False

    def _slow(self) -> dict[int, _Running]:
        """Return the slow calls that only one worker has, by shard."""
        if not (self._round.move and self._round.seconds):
            return {}
        longest = max(_SLOW_SECONDS, _SLOW * statistics.median(self._round.seconds))
        made = [
            (each.call.shard, each) for each in self._running.values() if each.call and self._round.wants(each.call)
        ]
        counts = collections.Counter(shard for shard, _ in made)
        return {shard: each for shard, each in made if counts[shard] == 1 and self._clock() - each.begun > longest}

    def _call(self, worker: int, call: Call, *, can_begin: bool, with_state: bool = False) -> None:
        state = None
        if call.at is not None and (with_state or self._home.get(call.shard) != worker):
            state = self._round.state_of(call.shard)
        kept = frozenset(shard for shard, home in self._home.items() if home == worker)
        made = self._crew.call(worker, call, self._round.shared, state=state, begin=can_begin, kept=kept)
        self._running[made] = _Running(worker, call, self._clock(), can_begin)
        self._free.discard(worker)

    def _take(self, ended: Hashable) -> str | None:
        """Process what has ended; return the reason why a worker that has started must not be used, or None."""
        running = self._running.pop(ended)
        try:
            result = self._crew.result(ended)
        except WorkerLostError as error:
            self._lose(running, str(error))
            return None
        if running.call is None:
            return self._welcome(running.worker, result)
        self._free.add(running.worker)
        # A late answer may belong to an earlier round.
        if self._round.wants(running.call):
            self._accept(running, running.call, result)
        return None

    def _accept(self, running: _Running, call: Call, answer: Answer) -> None:
        if answer.found:
            self._round.answers[call.shard] = answer
            self._round.seconds.append(self._clock() - running.begun)
            self._home[call.shard] = running.worker
        elif answer.exact:
            self._call(running.worker, call, can_begin=running.can_begin, with_state=True)
        else:
            # The second worker cannot replay the episodes, so the first one continues them.
            self._round.cannot_move.add(call.shard)
            self._retry_unless_made(call)

    def _lose(self, running: _Running, reason: str) -> None:
        self._free.discard(running.worker)
        for shard in [shard for shard, home in self._home.items() if home == running.worker]:
            del self._home[shard]
        self._start(running.worker)
        call = running.call
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
        """Queue a call again, unless another worker has it."""
        if not any(each.call is call for each in self._running.values()):
            self._round.waiting[call.shard] = call

    def _welcome(self, worker: int, fingerprint: Mapping[str, str]) -> str | None:
        refusal = self._check(worker, fingerprint)
        if refusal is None:
            self._free.add(worker)
        else:
            self._crew.dismiss(worker)
            _logger.warning("worker %d is not used: %s", worker, refusal)
        return refusal


class _Round:
    """A set of calls, each of which is answered once.

    Attributes:
      waiting: calls that no worker has, by shard.
      seconds: durations of the answered calls.
      cannot_move: shards whose episodes another worker could not replay.
      deaths: number of workers lost with the call, by shard.
    """

    def __init__(
        self, calls: Sequence[Call], state_of: Callable[[int], dict[str, Any]], shared: Any, move: bool
    ) -> None:
        self.state_of, self.shared, self.move = state_of, shared, move
        self.waiting = {call.shard: call for call in calls}
        self.answers: dict[int, Answer] = {}
        self.seconds: list[float] = []
        self.cannot_move: set[int] = set()
        self.deaths: collections.Counter[int] = collections.Counter()
        self._calls = dict(self.waiting)

    def wants(self, call: Call | None) -> bool:
        """Return whether a call is one of this round's and has no answer yet."""
        return call is not None and self._calls.get(call.shard) is call and call.shard not in self.answers


def _no_state(shard: int) -> dict[str, Any]:
    raise AssertionError("nothing is played")

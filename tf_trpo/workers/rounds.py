"""A round of calls, each of which is answered once, and the limit on the time without any worker."""

from __future__ import annotations

import collections
import logging
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from tf_trpo.environments.failures import WorkersLostError
from tf_trpo.workers.homes import Homes
from tf_trpo.workers.worker import Answer, Call

_logger = logging.getLogger(__name__)
_SILENCE = 20.0
"""Seconds without a worker after which a warning says what the run waits for."""
_PATIENCE = 900.0
"""Seconds without a worker after which the run ends."""


class Round:
    """Calls, each of which is answered once.

    Attributes:
      state_of: shard -> state of its episodes.
      shared: reference to the weights.
      move: whether shards may move to other workers although their own workers are not lost.
      waiting: calls that no worker is at, by shard.
      homeless: queue of the shards without a home. It may also have shards whose calls are no longer waiting.
      answers: answers so far, by shard.
      seconds: durations of the answered calls.
      cannot_move: shards whose episodes cannot be replayed by another worker.
      deaths: number of workers lost during the call, by shard.
    """

    def __init__(
        self,
        calls: Sequence[Call],
        state_of: Callable[[int], dict[str, Any]],
        shared: Any,
        move: bool,
        usual: float | None,
    ) -> None:
        self.state_of, self.shared, self.move = state_of, shared, move
        self.waiting: dict[int, Call] = {}
        self.answers: dict[int, Answer] = {}
        self.seconds: list[float] = []
        self.cannot_move: set[int] = set()
        self.deaths: collections.Counter[int] = collections.Counter()
        self.homeless: collections.deque[int] = collections.deque()
        self._calls = {call.shard: call for call in calls}
        self._by_home: collections.defaultdict[int, collections.deque[int]] = collections.defaultdict(collections.deque)
        self._usual = usual

    def wait_for(self, call: Call, homes: Homes) -> None:
        """Queue a call for the worker that is its shard's home, or for any worker if there is no home."""
        home = homes.of(call.shard)
        self.waiting[call.shard] = call
        (self.homeless if home is None else self._by_home[home]).append(call.shard)

    def next_for(self, worker: int) -> Call | None:
        """Remove and return the next call for a worker: of its own shards first, then of shards without a home."""
        for shards in (self._by_home[worker], self.homeless):
            while shards:
                shard = shards.popleft()
                if shard in self.waiting:
                    return self.waiting.pop(shard)
        return None

    def usual_seconds(self) -> float | None:
        """Return the median duration of a call in this round, or else in the last round with the same work."""
        return statistics.median(self.seconds) if self.seconds else self._usual

    def wants(self, call: Call | None) -> bool:
        """Return whether a call belongs to this round and has no answer yet."""
        return call is not None and self._calls.get(call.shard) is call and call.shard not in self.answers


class Patience:
    """Limits the time without any worker."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: float | None = None
        self._said = False

    def check(self, has_workers: bool) -> None:
        """Warn after 20 s without any worker, and raise WorkersLostError after 900 s."""
        if has_workers:
            self._since, self._said = None, False
            return
        now = self._clock()
        self._since = now if self._since is None else self._since
        reasons = "each needs a free core of the cluster, and plays the environment first, which must not hang"
        if now - self._since > _PATIENCE:
            raise WorkersLostError(f"no worker has started in {_PATIENCE:g} seconds: {reasons}")
        if now - self._since > _SILENCE and not self._said:
            self._said = True
            _logger.warning("no worker has started in %g seconds: %s", _SILENCE, reasons)

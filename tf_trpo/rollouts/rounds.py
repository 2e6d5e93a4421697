"""A round of calls, of which each is answered once, and how long it waits for workers."""

from __future__ import annotations

import collections
import logging
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from tf_trpo.environments import EnvironmentFailedError
from tf_trpo.rollouts.homes import Homes
from tf_trpo.rollouts.worker import Answer, Call

_logger = logging.getLogger(__name__)
_SILENCE = 20.0
"""Seconds without a worker after which it is said what the run waits for."""
_PATIENCE = 900.0
"""Seconds without a worker after which the run ends."""


class Round:
    """Calls of which each is answered once.

    Attributes:
      waiting: calls that no worker has, by shard.
      homeless: shards of such calls, and perhaps of others, whose environments no worker has.
      seconds: that answers took.
      cannot_move: shards whose episodes cannot be played again elsewhere.
      deaths: workers lost with the call, by shard.
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
        self.waiting = {call.shard: call for call in calls}
        self.answers: dict[int, Answer] = {}
        self.seconds: list[float] = []
        self.cannot_move: set[int] = set()
        self.deaths: collections.Counter[int] = collections.Counter()
        self.homeless: collections.deque[int] = collections.deque()
        self._calls = dict(self.waiting)
        self._by_home: collections.defaultdict[int, collections.deque[int]] = collections.defaultdict(collections.deque)
        self._usual = usual

    def sort(self, homes: Homes) -> None:
        """Find out for each call whose it is."""
        for call in self._calls.values():
            self.wait_for(call, homes)

    def wait_for(self, call: Call, homes: Homes) -> None:
        """Let a call wait for the worker that has its shard, or for any."""
        home = homes.of(call.shard)
        self.waiting[call.shard] = call
        (self.homeless if home is None else self._by_home[home]).append(call.shard)

    def next_for(self, worker: int) -> Call | None:
        """Take the next call that a worker should make."""
        for shards in (self._by_home[worker], self.homeless):
            while shards:
                shard = shards.popleft()
                if shard in self.waiting:
                    return self.waiting.pop(shard)
        return None

    def usual_seconds(self) -> float | None:
        """Give what a call usually takes, by this round, or else by the last one with the same work."""
        return statistics.median(self.seconds) if self.seconds else self._usual

    def wants(self, call: Call | None) -> bool:
        """Tell whether a call is one of these, and has no answer."""
        return call is not None and self._calls.get(call.shard) is call and call.shard not in self.answers


class Patience:
    """How long there may be no worker at all."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: float | None = None
        self._said = False

    def check(self, has_workers: bool) -> None:
        """Say so if there has been no worker for a while; raise EnvironmentFailedError if none comes any more."""
        if has_workers:
            self._since, self._said = None, False
            return
        now = self._clock()
        self._since = now if self._since is None else self._since
        reasons = "each needs a free core of the cluster, and plays the environment first, which must not end it"
        if now - self._since > _PATIENCE:
            raise EnvironmentFailedError(f"no worker has started in {_PATIENCE:g} seconds: {reasons}")
        if now - self._since > _SILENCE and not self._said:
            self._said = True
            _logger.warning("no worker has started in %g seconds: %s", _SILENCE, reasons)

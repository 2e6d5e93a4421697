"""The assignment of shards to workers."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence


class Homes:
    """The home of each shard: the worker whose environments are in the states of the shard's episodes, if any."""

    def __init__(self) -> None:
        self._home: dict[int, int] = {}
        self._shards: collections.defaultdict[int, set[int]] = collections.defaultdict(set)

    def of(self, shard: int) -> int | None:
        """Return the home of a shard, or None."""
        return self._home.get(shard)

    def shards_of(self, worker: int) -> frozenset[int]:
        """Return the shards whose home is a worker."""
        return frozenset(self._shards[worker])

    def put(self, shard: int, worker: int) -> None:
        """Make a worker the home of a shard, instead of any home it had."""
        self.drop([shard])
        self._home[shard] = worker
        self._shards[worker].add(shard)

    def drop(self, shards: Iterable[int]) -> None:
        """Remove the homes of shards."""
        for shard in shards:
            before = self._home.pop(shard, None)
            if before is not None:
                self._shards[before].discard(shard)

    def settle(self, shards: Sequence[int], free: set[int], move: bool) -> None:
        """Give homes at free workers to shards that lack one, and balance the number of shards per worker.

        Args:
          shards: shards that will get calls. Each one without a home at a free worker gets a new home. If no worker is
            free, these shards have no home.
          free: the free workers.
          move: whether other shards may also move, from the free worker with most shards to the one with fewest.
        """
        away = [shard for shard in shards if self._home.get(shard) not in free]
        self.drop(away)
        count = collections.Counter({worker: len(self._shards[worker]) for worker in sorted(free)})
        for shard in away if free else ():
            self.put(shard, min(count, key=lambda worker: count[worker]))
            count[self._home[shard]] += 1
        while move and count:
            [(busiest, most)], (idlest, least) = count.most_common(1), min(count.items(), key=lambda each: each[1])
            if most - least < 2:
                break
            self.put(max(self._shards[busiest]), idlest)
            count[busiest] -= 1
            count[idlest] += 1

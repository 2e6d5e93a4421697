"""Which worker has which shard's environments."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence


class Homes:
    """The worker that has a shard's environments where its episodes are, for each shard that has one."""

    def __init__(self) -> None:
        self._home: dict[int, int] = {}
        self._shards: collections.defaultdict[int, set[int]] = collections.defaultdict(set)

    def of(self, shard: int) -> int | None:
        """Give a shard's home."""
        return self._home.get(shard)

    def shards_of(self, worker: int) -> frozenset[int]:
        """Give the shards of a worker."""
        return frozenset(self._shards[worker])

    def put(self, shard: int, worker: int) -> None:
        """Give a shard a home, which it had not or had elsewhere."""
        self.drop([shard])
        self._home[shard] = worker
        self._shards[worker].add(shard)

    def drop(self, shards: Iterable[int]) -> None:
        """Let shards have no home."""
        for shard in shards:
            before = self._home.pop(shard, None)
            if before is not None:
                self._shards[before].discard(shard)

    def settle(self, shards: Sequence[int], free: set[int], move: bool) -> None:
        """Give shards homes at free workers.

        Args:
          shards: those that have none, or a home that is not free, get one. If no worker is free, none has a home.
          free: workers.
          move: whether other shards may go from the busiest worker to an idle one.
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

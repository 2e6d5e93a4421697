"""Shards: groups of environments whose actions are computed in one batch, wherever they are stepped."""

from __future__ import annotations

import dataclasses

from tf_trpo.ranges import check_types, check_whole_numbers, require

_MOST = 16
_ENVIRONMENTS = 16


def default_shards(num_envs: int) -> int:
    """Return the default number of shards of B environments, by B alone: the largest divisor of B that costs little.

    Each further shard is a further call of the policy at every step. With the cheapest environments, such as CartPole,
    a call takes about as long as half a step of one environment. So there is at most one shard for each 16
    environments, but up to two from 16 on, and never more than 16.
    """
    most = min(_MOST, max(2, num_envs // _ENVIRONMENTS)) if num_envs >= _ENVIRONMENTS else 1
    return next(shards for shards in range(most, 0, -1) if num_envs % shards == 0)


def shard_rows(num_envs: int, shards: int) -> list[slice]:
    """Divide B environments into shards of equal size, in order.

    Raises:
      ValueError: the number of shards does not divide B.
    """
    require(
        1 <= shards <= num_envs and num_envs % shards == 0, "shards", f"a divisor of {num_envs} environments", shards
    )
    size = num_envs // shards
    return [slice(first, first + size) for first in range(0, num_envs, size)]


@dataclasses.dataclass(frozen=True)
class Spread:
    """How environments are divided into shards and workers; results depend on the number of shards only.

    Args:
      shards: number of shards, all of the same size; None: `default_shards`.
      workers: number of processes that step the shards; 0: only this process.
      address: of the Ray cluster with the workers; None: on this machine.
      allow_different: also use workers whose computations differ from this process's.

    Raises:
      TypeError: an argument is of another type.
      ValueError: a number is out of range, or an argument has no effect.
    """

    shards: int | None = None
    workers: int = 0
    address: str | None = None
    allow_different: bool = False

    def __post_init__(self) -> None:
        check_whole_numbers(shards=1 if self.shards is None else self.shards)
        check_whole_numbers(lowest=0, workers=self.workers)
        check_types(ray_address=(self.address, str | None), allow_different_workers=(self.allow_different, bool))
        if not self.workers and (self.address is not None or self.allow_different):
            name = "allow_different_workers" if self.address is None else "ray_address"
            raise ValueError(f"{name} has no effect without workers: set workers")
        if (self.address or "").startswith("ray://"):
            raise ValueError("ray_address must be auto or HOST:PORT: Ray's client, of ray://, is not supported")

    def shards_of(self, num_envs: int) -> int:
        """Return the number of shards of B environments.

        Raises:
          ValueError: the number does not divide B, or there are more workers than shards.
        """
        shards = default_shards(num_envs) if self.shards is None else self.shards
        shard_rows(num_envs, shards)
        at_most = f"at most the number of shards, {shards} for {num_envs} environments (see num_envs and shards)"
        require(self.workers <= shards, "workers", at_most, self.workers)
        return shards

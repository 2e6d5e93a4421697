"""Shards: groups of environments whose actions are computed in one batch, wherever they are stepped."""

from __future__ import annotations

from tf_trpo.ranges import require

_MOST = 16
_ENVIRONMENTS = 16


def default_shards(num_envs: int) -> int:
    """Choose the number of shards of B environments, by B alone: the largest divisor that costs little.

    Another shard is another call of the policy at every step. With the cheapest environments, such as CartPole, a call
    takes about as long as half a step of one environment. So there is a shard for 16 environments, two from 16 on,
    and never more than 16.
    """
    most = min(_MOST, max(2, num_envs // _ENVIRONMENTS)) if num_envs >= _ENVIRONMENTS else 1
    return next(shards for shards in range(most, 0, -1) if num_envs % shards == 0)


def shard_rows(num_envs: int, shards: int) -> list[slice]:
    """Divide B environments into shards of equal size, in order.

    Raises:
      ValueError: the number of shards does not divide B.
    """
    require(1 <= shards <= num_envs and num_envs % shards == 0, "shards", f"a divisor of {num_envs} environments", shards)
    size = num_envs // shards
    return [slice(first, first + size) for first in range(0, num_envs, size)]

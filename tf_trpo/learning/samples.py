"""The samples of an update, what one update leaves for the next, and the specs of a rollout."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from tf_trpo.estimation import Batch
from tf_trpo.learning.segments import remembered_spec
from tf_trpo.learning.vine import branches_spec
from tf_trpo.models import Policy
from tf_trpo.models.memory import States, chosen
from tf_trpo.models.normalization import Statistics
from tf_trpo.rollouts import Rollout
from tf_trpo.rollouts.vine import Vine
from tf_trpo.spaces import map_parts


class Carry(NamedTuple):
    """State that is carried from one rollout to the next in each of B environments.

    Attributes:
      returns: carry of `discounted_return_so_far`, [B].
      states: of the value function's memory, arrays [B, ...]; empty without a memory.
      costs: the same for each cost.
    """

    returns: tf.Tensor
    states: States = ()
    costs: tuple[Carry, ...] = ()


def restarted(carry: Any, first: Any, restarts: Any) -> Any:
    """Reset a nest of arrays [B, ...] to the first ones, in the environments that restart, bool [B]."""
    return tf.nest.map_structure(lambda now, new: chosen(restarts, new, now), carry, first)


def finite_or_first(states: States, first: States) -> States:
    """Reset a memory's states [B, ...] in the environments where a number is not finite; it would stay so."""
    rows = [tf.reshape(part, [part.shape[0], -1]) for part in states]
    return restarted(states, first, ~tf.reduce_all(tf.math.is_finite(tf.concat(rows, 1)), 1)) if rows else ()


class ValueSamples(NamedTuple):
    """Samples for a value function: [N, ...], or [S, L, ...] in segments.

    Attributes:
      observations: those of the rollout, with the states of the value function's own memory, if any.
      rewards: [T, B], the environment's rewards or one of its costs, scaled.
      values, targets: V of the samples, and the targets of its regression.
      weights: as in a `Batch`.
      statistics: new statistics of observations.
      sound: whether the moments of the returns were finite.
    """

    observations: Any
    rewards: tf.Tensor
    values: tf.Tensor
    targets: tf.Tensor
    weights: tf.Tensor
    statistics: list[Statistics]
    sound: tf.Tensor


class Prepared(NamedTuple):
    """All samples of an update.

    Attributes:
      batch: samples for the policy.
      values: samples for each value function, of the rewards first and then of the costs.
      policy_statistics: new statistics of the policy's observations.
    """

    batch: Batch
    values: tuple[ValueSamples, ...]
    policy_statistics: list[Statistics]


def as_tensors(rollout: Rollout, *others: Any) -> list[Any]:
    """Convert the arguments of an update to tensors, without the parts of the rollout that updates do not use."""
    converted: list[Any] = tf.nest.map_structure(tf.convert_to_tensor, [rollout._replace(infos=(), begun=()), *others])
    return converted


def rollout_spec(policy: Policy, num_steps: int, num_envs: int, num_costs: int, vine: Vine | None = None) -> Rollout:
    """Return the specs of the arrays in a rollout of T steps of B environments, with C costs, and maybe branches."""
    shape, distribution = (num_steps, num_envs), policy.action_distribution
    action = distribution.mode(distribution.one_row())
    observations = map_parts(
        lambda part: tf.TensorSpec((num_steps + 1, num_envs, *part.shape), part.dtype), policy.encoder.spec
    )
    actions, rewards = tf.TensorSpec((*shape, *action.shape[1:]), action.dtype), tf.TensorSpec(shape, tf.float64)
    flag = tf.TensorSpec(shape, tf.bool)
    memory = remembered_spec(policy.memory, num_steps, num_envs)
    costs = tf.TensorSpec((*shape, num_costs), tf.float64) if num_costs else ()
    branches = () if vine is None else branches_spec(vine, policy, actions, num_envs, num_costs)
    return Rollout(observations, actions, rewards, flag, flag, flag, memory=memory, costs=costs, branches=branches)

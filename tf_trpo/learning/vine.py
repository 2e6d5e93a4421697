"""Make the samples of a policy step from the branches of a rollout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tf_trpo.distributions import Categorical
from tf_trpo.estimation import branch_advantages, branch_returns
from tf_trpo.learning.critic import Critic
from tf_trpo.learning.settings import UpdateSettings
from tf_trpo.models import Policy
from tf_trpo.numerics import map_over_chunks, merged
from tf_trpo.rollouts import Rollout
from tf_trpo.rollouts.branches import Branches
from tf_trpo.rollouts.vine import Vine, VineSettings
from tf_trpo.spaces import map_parts


class BranchSamples(NamedTuple):
    """Samples of K actions in each of M states.

    Attributes:
      observations: a nest of arrays [M K, ...].
      actions: [M, K, ...].
      advantages: advantages [M, K] of the rewards and of each cost, in units of the scaled rewards and costs.
      weights: [M K], with sum 1. All valid states have the same total weight; invalid states have weight 0.
    """

    observations: Any
    actions: tf.Tensor
    advantages: list[tf.Tensor]
    weights: tf.Tensor


def settled_vine(settings: VineSettings | None, policy: Policy, num_steps: int, num_envs: int) -> Vine | None:
    """Return the branches' number and length for a policy and rollouts of T steps of B environments.

    Returns:
      None without branches.

    Raises:
      ValueError: there are more than T states with branches, the branches would have too many steps, or the policy has
        a memory.
    """
    if settings is None or not settings.vine_states:
        return None
    if policy.memory is not None:
        raise ValueError("vine_states must be 0 for a policy with a memory")
    settings.check_rollout(num_steps)
    distribution = policy.action_distribution
    number = distribution.num_actions if isinstance(distribution, Categorical) else None
    return settings.settled(number, num_envs)


def branch_samples(
    rollout: Rollout,
    branches: Branches,
    policy: Policy,
    critics: Sequence[Critic],
    settings: UpdateSettings,
    chunk: Any,
) -> BranchSamples:
    """Make samples from branches, with advantages by the value functions' present weights.

    Args:
      rollout: the rollout.
      branches: branches of the rollout; S rows of B environments are M = S B states.
      policy: the policy that acted.
      critics: critics of the rewards, and of each cost.
      settings: gamma and normalize_rewards are used.
      chunk: a nest of observations [N, ...] -> largest number of samples in memory at once.
    """
    actions, length = branches.rewards.shape[2:]
    states = tf.nest.map_structure(lambda rows: merged(tf.gather(rows, branches.rows)), rollout.observations)
    valid = tf.cast(merged(tf.gather(rollout.valid, branches.rows)), tf.float32)
    counted = valid / tf.maximum(tf.reduce_sum(valid), 1.0)
    if isinstance(branches.actions, tuple):
        tried = tf.tile(tf.range(actions)[None], [valid.shape[0], 1])
        parameters = map_over_chunks(policy.distribution_parameters, states, chunk(states))
        log_prob = policy.action_distribution.log_prob(tf.repeat(parameters, actions, axis=0), tf.reshape(tried, [-1]))
        probabilities = tf.reshape(tf.exp(log_prob), tried.shape)
        weights = counted[:, None] * probabilities
    else:
        tried, probabilities = merged(tf.convert_to_tensor(branches.actions)), None
        weights = tf.repeat(counted[:, None] / actions, actions, axis=1)
    last = tf.nest.map_structure(lambda array: merged(merged(array)), branches.observations)
    steps, ended = (tf.reshape(array, [-1]) for array in (branches.steps, branches.terminated))
    costs = tf.unstack(branches.costs, axis=-1) if len(critics) > 1 else []
    advantages = []
    for critic, numbers in zip(critics, [branches.rewards, *costs], strict=True):
        rewards = tf.reshape(tf.cast(numbers, tf.float32), [-1, length])
        rewards = critic.return_scale(rewards) if settings.normalize_rewards else rewards
        values = map_over_chunks(critic.value_function, last, chunk(last))
        returns = branch_returns(rewards, steps, tf.cast(ended, tf.float32), values, gamma=settings.gamma)
        advantages.append(branch_advantages(tf.reshape(returns, [-1, actions]), probabilities))
    repeated = tf.nest.map_structure(lambda rows: tf.repeat(rows, actions, axis=0), states)
    return BranchSamples(repeated, tried, advantages, tf.reshape(weights, [-1]))


def branches_spec(vine: Vine, policy: Policy, action: tf.TensorSpec, num_envs: int, num_costs: int) -> Branches:
    """Return the specs of the arrays in branches, given a rollout's spec of sampled actions, B and C."""
    shape = (vine.states, num_envs, vine.actions)

    def spec(dtype: Any, *more: int) -> tf.TensorSpec:
        return tf.TensorSpec((*shape, *more), dtype)

    observations = map_parts(lambda part: spec(part.dtype, *part.shape), policy.encoder.spec)
    return Branches(
        tf.TensorSpec((vine.states,), tf.int32),
        () if vine.tries_all else spec(action.dtype, *action.shape[2:]),
        spec(tf.float64, vine.steps),
        spec(tf.int32),
        spec(tf.bool),
        observations,
        spec(tf.float64, vine.steps, num_costs) if num_costs else (),
    )

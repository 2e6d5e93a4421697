"""The anchor, a fixed policy that training stays near."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeAlias

import keras
import numpy as np

from tf_trpo.models import Policy
from tf_trpo.models.structure import classes_of, copy_weights, functions_of, layers_of
from tf_trpo.ranges import check_types
from tf_trpo.spaces import difference, map_parts

if TYPE_CHECKING:
    from tf_trpo.training.agent import Agent

Anchor: TypeAlias = "Agent | Policy | str | os.PathLike[str]"
"""A policy; an agent, whose evaluated policy is meant; or the file of a saved agent."""


def copied_policy(anchor: Anchor, policy: Policy) -> Policy:
    """Copy a policy as it is now, with its observation statistics, as the anchor of another policy.

    Args:
      anchor: the policy to copy, or the agent or file that has it.
      policy: the policy that must stay near the anchor; the two may differ in their networks.

    Raises:
      TypeError: the anchor is of another type.
      ValueError: the file holds no agent, the policy or the anchor has a memory, the anchor cannot be made from its
        config, or the policies differ in their observations or action distributions.
    """
    from tf_trpo.training.agent import Agent

    if isinstance(anchor, str | os.PathLike):
        from tf_trpo.training.loading import load

        anchor = load(anchor)
    check_types(anchor=(anchor, Agent | Policy))
    own = anchor if isinstance(anchor, Policy) else anchor.policy
    if policy.memory is not None:
        raise ValueError("anchor must be None for a policy with a memory: their memories would differ")
    if own.memory is not None:
        raise ValueError("anchor must be a policy without a memory")
    differing = difference(policy.encoder.spec, own.encoder.spec)
    if differing is not None:
        raise ValueError(f"the agent observes {differing[0]}, its anchor {differing[1]}")
    if _meaning(policy) != _meaning(own):
        raise ValueError("anchor must have the actions and the kind of action distribution that the agent has")
    try:
        with keras.saving.custom_object_scope(functions_of(own) | classes_of(own)):
            copy: Policy = Policy.from_config(own.get_config())
    except (TypeError, ValueError) as error:
        raise ValueError(
            "anchor must be a policy that can be made from its config, without a lambda: give a function or layer with "
            "a name (keras.saving.register_keras_serializable)"
        ) from error
    copy_weights(own, copy)
    if not isinstance(anchor, Policy):
        copy.assign_flat_weights(anchor.evaluation_theta())
    copy.trainable = False
    return copy


def start_at(policy: Policy, anchor: Policy) -> None:
    """Give a policy the weights and observation statistics of its anchor.

    Raises:
      ValueError: the policy, which is then unchanged, would not compute what its anchor computes.
    """
    before, near = policy.get_weights(), anchor.get_weights()
    if [weight.shape for weight in before] == [weight.shape for weight in near]:
        policy.set_weights(near)
        if np.array_equal(_computed(policy), _computed(anchor)):
            return
        policy.set_weights(before)
    raise ValueError("the policy must have the network of its anchor, at which it starts: give the same settings")


def _computed(policy: Policy) -> np.ndarray:
    """Return what a policy computes for a few observations."""
    random = np.random.default_rng(0)
    rows = map_parts(lambda part: random.random((4, *part.shape)).astype(part.dtype), policy.encoder.spec)
    return policy.distribution_parameters(rows).numpy()


def _meaning(policy: Policy) -> object:
    """Describe what the parameters of a policy's action distribution mean."""
    distribution = policy.action_distribution
    return list(map(type, layers_of(distribution))), distribution.describe_actions()

"""The anchor, a fixed policy that training stays near."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, TypeAlias

from tf_trpo.models import Policy
from tf_trpo.models.structure import layers_of
from tf_trpo.spaces import difference

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
      ValueError: the file holds no agent, the anchor has a memory, the policies differ in their observations or action
        distributions, or the policy's standard deviation follows a schedule, which would move it away from its anchor.
    """
    if isinstance(anchor, str | os.PathLike):
        from tf_trpo.training.loading import load

        anchor = load(anchor)
    own = anchor if isinstance(anchor, Policy) else anchor.policy
    if own.memory is not None:
        raise ValueError("anchor must be a policy without a memory")
    differing = difference(policy.encoder.spec, own.encoder.spec)
    if differing is not None:
        raise ValueError(f"the agent observes {differing[0]}, its anchor {differing[1]}")
    if _meaning(policy) != _meaning(own):
        raise ValueError("anchor must have the actions and the kind of action distribution that the agent has")
    if policy.action_distribution.is_scheduled:
        raise ValueError("anchor must be None with a final_std: a schedule takes the policy away from its anchor")
    copy: Policy = Policy.from_config(own.get_config())
    copy.set_weights(own.get_weights())
    if not isinstance(anchor, Policy):
        copy.assign_flat_weights(anchor.evaluation_theta())
    copy.trainable = False
    return copy


def fingerprint(anchor: Policy | None) -> str | None:
    """Return the SHA-256 of an anchor's weights, to tell runs apart; None without an anchor."""
    if anchor is None:
        return None
    digest = hashlib.sha256()
    for weight in anchor.weights:
        digest.update(weight.numpy().tobytes())
    return digest.hexdigest()


def _meaning(policy: Policy) -> object:
    """Describe what the parameters of a policy's action distribution mean."""
    distribution = policy.action_distribution
    return list(map(type, layers_of(distribution))), distribution.describe_actions()

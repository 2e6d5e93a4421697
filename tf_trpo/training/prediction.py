"""Actions for observations, both as the environment gives and takes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tf_trpo.models import Policy
from tf_trpo.spaces import ACTION_MASK, Spec, as_batch, mask_of


def predicted(
    policy: Policy, theta: tf.Tensor, observations: Any, action_mask: Any, noise_seed: tf.Tensor | None
) -> Any:
    """Give the action for one observation, or the actions for a batch.

    Args:
      policy: acts.
      theta: its flat trainable weights [P].
      observations, action_mask: as for `Agent.predict`.
      noise_seed: of samples, int32 [2]; None for the modes.

    Raises:
      ValueError: the observations are not of the policy's spec, or the mask is missing or has no use.
    """
    batch, single = _masked_batch(policy.encoder.spec, observations, action_mask)
    parameters = policy.parameters_at(theta, tf.nest.map_structure(tf.convert_to_tensor, batch))
    distribution = policy.action_distribution
    noise = None if noise_seed is None else distribution.noise([parameters.shape[0]], noise_seed)
    actions = distribution.environment_actions(policy.actions(parameters, noise).numpy())
    return tf.nest.map_structure(lambda rows: rows[0], actions) if single else actions


def _masked_batch(spec: Spec, observations: Any, action_mask: Any) -> tuple[Any, bool]:
    """Do what the environment's wrapper `ActionMask` does in training, and then `as_batch`."""
    mask = mask_of(spec, spec)
    entries = observations if isinstance(observations, Mapping) else {"observation": observations}
    if action_mask is None and mask is not None and ACTION_MASK not in entries:
        raise ValueError("action_mask must be given: the agent's environment says which actions are allowed")
    if action_mask is None:
        return as_batch(spec, observations)
    if mask is None or not isinstance(spec, dict):
        raise ValueError("action_mask: the agent is of an environment that masks no actions")
    batch, single = as_batch({name: spec[name] for name in spec if name != ACTION_MASK}, entries)
    # As in the wrapper, a mask may be a list of arrays, one for each action.
    rows = np.concatenate(
        [np.ravel(part) for part in (action_mask if isinstance(action_mask, list) else [action_mask])]
    )
    if rows.size % math.prod(mask.shape):
        raise ValueError(f"action_mask must be {list(mask.shape)} for each observation, got {rows.size} numbers")
    return as_batch(spec, {**batch, ACTION_MASK: rows.reshape(-1, *mask.shape)})[0], single

"""Prediction of actions from observations, both in the environment's own form."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tf_trpo.models import Policy
from tf_trpo.ranges import check_whole_numbers
from tf_trpo.rollouts import Stream, operation_seed
from tf_trpo.spaces import ACTION_MASK, Spec, as_batch, entries_of, joined_mask, mask_of


def noise_seed(seed: int | None, draws: Iterator[int]) -> tf.Tensor:
    """Return a seed for sampling noise, int32 [2]: from a number in [0, 2^31), or for the next draw if it is None.

    Raises:
      ValueError: the number is out of range.
    """
    if seed is None:
        return operation_seed(next(draws), Stream.PREDICTIONS)
    check_whole_numbers(lowest=0, seed=seed)
    if seed >= 2**31:
        raise ValueError(f"seed must be below 2^31, got {seed}")
    return tf.constant([seed, 0])


def predicted(
    policy: Policy, theta: tf.Tensor, observations: Any, action_mask: Any, seed: tf.Tensor | None, state: Any
) -> tuple[Any, tuple[np.ndarray, ...]]:
    """Return the action for one observation, or the actions for a batch, and the memory's new state.

    Args:
      policy: the policy that acts.
      theta: its flat trainable weights [P].
      observations, action_mask, state: as for `Agent.predict`.
      seed: of samples, int32 [2]; None for the modes.

    Raises:
      ValueError: the observations do not fit the policy's spec, the mask is missing or has no effect, or the state does
        not fit or has no effect.
    """
    batch, single = _masked_batch(policy.encoder.spec, observations, action_mask)
    given = tf.nest.map_structure(tf.convert_to_tensor, batch)
    states = _states(policy, state, tf.nest.flatten(given)[0].shape[0], single=single)
    with policy.scope_at(theta):
        parameters, states = policy.step(given, states)
    distribution = policy.action_distribution
    noise = None if seed is None else distribution.noise([parameters.shape[0]], seed)
    actions = distribution.environment_actions(policy.actions(parameters, noise).numpy())
    after = tuple(part.numpy() for part in states)
    return tf.nest.map_structure(lambda rows: rows[0], (actions, after)) if single else (actions, after)


def _states(policy: Policy, state: Any, count: int, *, single: bool) -> tuple[tf.Tensor, ...]:
    """Convert a memory's state for one observation, or a batch, to tensors [count, ...]; None: the initial states."""
    initial = policy.initial_states(count)
    if state is None:
        return initial
    if not initial:
        raise ValueError("state: the agent has no memory")
    given = [np.asarray(part) for part in (state if isinstance(state, tuple | list) else ())]
    parts = [part[None] if single else part for part in given]
    fits = [part.shape for part in parts] == [tuple(part.shape) for part in initial]
    if not fits or not all(map(_finite, parts, (part.dtype.as_numpy_dtype for part in initial))):
        shapes = ", ".join(str(list(part.shape[single:])) for part in initial)
        raise ValueError(
            f"state must be as predict returned it for the previous observations: a tuple of finite arrays {shapes}"
        )
    return tuple(tf.cast(part, now.dtype) for part, now in zip(parts, initial, strict=True))


def _finite(part: np.ndarray, dtype: type) -> bool:
    """Return whether an array holds numbers that are finite after conversion to `dtype`."""
    with np.errstate(over="ignore"):
        return part.dtype.kind in "fiu" and bool(np.isfinite(part.astype(dtype)).all())


def _masked_batch(spec: Spec, observations: Any, action_mask: Any) -> tuple[Any, bool]:
    """Add the mask to the observations, as the wrapper `ActionMask` does in training, and apply `as_batch`."""
    mask = mask_of(spec, spec)
    entries = entries_of(observations)
    if action_mask is None and mask is not None and ACTION_MASK not in entries:
        raise ValueError("action_mask must be given: the agent's environment says which actions are allowed")
    if action_mask is None:
        return as_batch(spec, observations)
    if mask is None or not isinstance(spec, dict):
        raise ValueError("action_mask: the agent is of an environment that masks no actions")
    batch, single = as_batch({name: spec[name] for name in spec if name != ACTION_MASK}, entries)
    masks = action_mask if isinstance(action_mask, list | tuple) else np.atleast_1d(action_mask)
    rows = [joined_mask(each) for each in ([masks] if single else masks)]
    count, found = len(tf.nest.flatten(batch)[0]), [row.size for row in rows]
    if found != [math.prod(mask.shape)] * count:
        expected = f"{list(mask.shape)} for each observation"
        raise ValueError(f"action_mask must be {expected}, got masks of {found[:10]} numbers for {count} observations")
    return as_batch(spec, {**batch, ACTION_MASK: np.reshape(rows, (count, *mask.shape))})[0], single

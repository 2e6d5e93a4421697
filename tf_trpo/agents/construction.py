"""Policies and value functions that fit an environment's spaces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import keras
import numpy as np

from tf_trpo.models import CategoricalPolicy, GaussianPolicy, Policy, ValueFunction, mlp


def make_policy(
    observation_space: gym.spaces.Box,
    action_space: gym.Space,
    *,
    network: keras.Model | None,
    hidden_sizes: Sequence[int],
    activation: str,
    state_dependent_std: bool,
    initial_std: float,
    normalize_observations: bool,
    seed: int | None,
) -> Policy:
    """Gaussian policy for a Box of actions, categorical policy for a Discrete space.

    Raises:
      ValueError: another space.
    """
    shape = observation_space.shape
    common: dict[str, Any] = {
        "network": network or mlp(shape, hidden_sizes, activation=activation, seed=_branch(seed, 0)),
        "normalize_observations": normalize_observations,
        "seed": _branch(seed, 1),
    }
    if isinstance(action_space, gym.spaces.Discrete):
        return CategoricalPolicy(shape, int(action_space.n), first_action=int(action_space.start), **common)
    if isinstance(action_space, gym.spaces.Box):
        return GaussianPolicy(
            shape,
            action_space.low.ravel().tolist(),
            action_space.high.ravel().tolist(),
            action_shape=action_space.shape,
            state_dependent_std=state_dependent_std,
            initial_std=initial_std,
            **common,
        )
    raise ValueError(f"the action space {action_space} is not supported: only Box and Discrete are")


def make_value_function(
    observation_space: gym.spaces.Box,
    *,
    network: keras.Model | None,
    hidden_sizes: Sequence[int],
    activation: str,
    normalize_observations: bool,
    seed: int | None,
) -> ValueFunction:
    """Value function over a Box of observations."""
    shape = observation_space.shape
    return ValueFunction(
        shape,
        network=network or mlp(shape, hidden_sizes, activation=activation, seed=_branch(seed, 2)),
        normalize_observations=normalize_observations,
        seed=_branch(seed, 3),
    )


def _branch(seed: int | None, branch: int) -> int | None:
    return None if seed is None else int(np.random.SeedSequence([seed, branch]).generate_state(1)[0] >> 1)


def check_fit(policy: Policy, observation_space: gym.spaces.Box, action_space: gym.Space) -> None:
    """Refuse an environment whose spaces are not those of the policy.

    Raises:
      ValueError: observations or actions differ in kind or shape.
    """
    if observation_space.shape != policy.observation_shape:
        raise ValueError(
            f"the agent observes arrays of shape {policy.observation_shape}, the environment gives "
            f"{observation_space.shape}"
        )
    if isinstance(policy, CategoricalPolicy):
        fits = isinstance(action_space, gym.spaces.Discrete) and int(action_space.n) == policy.num_outputs
    elif isinstance(policy, GaussianPolicy):
        fits = isinstance(action_space, gym.spaces.Box) and math.prod(action_space.shape) == len(policy.action_low)
    else:
        fits = True
    if not fits:
        raise ValueError(f"the agent's {type(policy).__name__} does not act in {action_space}")

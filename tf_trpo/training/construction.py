"""Policies and value functions that fit an environment's spaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import keras
import numpy as np
from gymnasium.vector import VectorEnv

from tf_trpo.environments import known_mirror
from tf_trpo.environments.vector import Environment
from tf_trpo.models import CategoricalPolicy, GaussianPolicy, MirrorSymmetry, Policy, ValueFunction, mlp


def make_policy(
    observation_shape: tuple[int, ...],
    action_space: gym.Space,
    *,
    network: keras.Model | None,
    hidden_sizes: Sequence[int],
    activation: str,
    state_dependent_std: bool,
    initial_std: float,
    learned_std: bool,
    clipped_likelihood: bool,
    function_preserving: bool,
    normalize_observations: bool,
    observation_min_std: float,
    mirror: MirrorSymmetry | None,
    seed: int | None,
) -> Policy:
    """Gaussian policy for a Box of actions, categorical policy for a Discrete space.

    Raises:
      ValueError: another space.
    """
    common: dict[str, Any] = {
        "network": mlp(observation_shape, hidden_sizes, activation=activation, seed=_branch(seed, 0))
        if network is None
        else network,
        "normalize_observations": normalize_observations,
        "observation_min_std": observation_min_std,
        "function_preserving": function_preserving,
        "mirror": mirror,
        "seed": _branch(seed, 1),
    }
    if isinstance(action_space, gym.spaces.Discrete):
        return CategoricalPolicy(observation_shape, int(action_space.n), first_action=int(action_space.start), **common)
    if isinstance(action_space, gym.spaces.Box):
        return GaussianPolicy(
            observation_shape,
            action_space.low.ravel().tolist(),
            action_space.high.ravel().tolist(),
            action_shape=action_space.shape,
            state_dependent_std=state_dependent_std,
            initial_std=initial_std,
            learned_std=learned_std,
            clipped_likelihood=clipped_likelihood,
            **common,
        )
    raise ValueError(f"the action space {action_space} is not supported: only Box and Discrete are")


def make_value_function(
    observation_shape: tuple[int, ...],
    *,
    network: keras.Model | None,
    hidden_sizes: Sequence[int],
    activation: str,
    normalize_observations: bool,
    observation_min_std: float,
    mirror: MirrorSymmetry | None,
    seed: int | None,
) -> ValueFunction:
    """Value function for observations of a shape."""
    return ValueFunction(
        observation_shape,
        network=mlp(observation_shape, hidden_sizes, activation=activation, seed=_branch(seed, 2))
        if network is None
        else network,
        normalize_observations=normalize_observations,
        observation_min_std=observation_min_std,
        mirror=mirror,
        seed=_branch(seed, 3),
    )


def mirror_of(environment: Environment, mirror: MirrorSymmetry | bool) -> MirrorSymmetry | None:
    """The mirror that is given, the one that is known of the environment for True, None for False.

    Raises:
      ValueError: none is known.
    """
    if mirror is False:
        return None
    if mirror is not True:
        return mirror
    if not isinstance(environment, str):
        raise ValueError(
            "mirror=True is what is known of a Gymnasium id; give a MirrorSymmetry with other environments"
        )
    return known_mirror(environment)


def _branch(seed: int | None, branch: int) -> int | None:
    return None if seed is None else int(np.random.SeedSequence([seed, branch]).generate_state(1)[0] >> 1)


def check_fit(policy: Policy, environments: VectorEnv) -> None:
    """Refuse an environment whose spaces are not those of the policy.

    Raises:
      ValueError: observations or actions differ in kind or shape.
    """
    observation_shape = environments.single_observation_space.shape
    action_space = environments.single_action_space
    if observation_shape != policy.observation_shape:
        raise ValueError(
            f"the agent observes arrays of shape {policy.observation_shape}, the environment gives {observation_shape}"
        )
    if isinstance(policy, CategoricalPolicy):
        numbering = (policy.num_outputs, policy.first_action)
        fits = isinstance(action_space, gym.spaces.Discrete) and (action_space.n, action_space.start) == numbering
    elif isinstance(policy, GaussianPolicy):
        fits = isinstance(action_space, gym.spaces.Box) and action_space.shape == policy.action_shape
    else:
        fits = True
    if not fits:
        raise ValueError(f"the agent's {type(policy).__name__} does not act in {action_space}")

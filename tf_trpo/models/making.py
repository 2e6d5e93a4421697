"""Policies and value functions that fit an environment's spaces."""

from __future__ import annotations

import gymnasium as gym
import keras
import numpy as np
from gymnasium.vector import VectorEnv

from tf_trpo.distributions import ActionDistribution, Categorical, Gaussian
from tf_trpo.models.encoder import Encoder
from tf_trpo.models.mirror_symmetry import MirroredEncoder, MirrorSymmetry
from tf_trpo.models.networks import default_network
from tf_trpo.models.policy import Policy
from tf_trpo.models.settings import PolicySettings, ValueSettings
from tf_trpo.models.value_function import ValueFunction
from tf_trpo.spaces import difference, observation_spec


def make_policy(
    settings: PolicySettings,
    observation_space: gym.Space,
    action_space: gym.Space,
    *,
    network: keras.Model | None = None,
    mirror: MirrorSymmetry | None = None,
    seed: int | None = None,
) -> Policy:
    """Make a Gaussian policy for a Box of actions, or a categorical policy for a Discrete space.

    Args:
      settings: of the policy.
      observation_space: any that `observation_spec` knows.
      action_space: a Box or a Discrete space.
      network: any keras.Model from the encoder's inputs to features [N, F]; by default `default_network`.
      mirror: the environment's symmetry; the policy respects it.
      seed: makes the initial weights reproducible.

    Raises:
      ValueError: another space, a mirror of other observations or actions, or a setting that the space has no use for.
      TypeError: the mirror is no `MirrorSymmetry`.
    """
    mirror = _checked_mirror(settings, mirror)
    spec = observation_spec(observation_space)
    distribution = _action_distribution(settings, action_space, mirror)
    if network is None:
        network = default_network(spec, settings.hidden_sizes, activation=settings.activation, seed=_branch(seed, 0))
    encoder = Encoder(
        spec,
        distribution.num_outputs,
        network=network,
        normalize_observations=settings.normalize_observations,
        observation_min_std=settings.observation_min_std,
        function_preserving=settings.function_preserving,
        seed=_branch(seed, 1),
    )
    if mirror is None:
        return Policy(encoder, distribution)
    return Policy(MirroredEncoder(encoder, mirror.observations, distribution.mirrored(mirror.actions)), distribution)


def make_value_function(
    settings: PolicySettings,
    value_settings: ValueSettings,
    observation_space: gym.Space,
    *,
    network: keras.Model | None = None,
    mirror: MirrorSymmetry | None = None,
    seed: int | None = None,
) -> ValueFunction:
    """Make the value function that goes with a policy.

    The arguments and errors are those of `make_policy`. With the same seed, the initial weights of the two have nothing
    in common.
    """
    mirror = _checked_mirror(settings, mirror)
    spec = observation_spec(observation_space)
    if network is None:
        sizes = value_settings.value_hidden_sizes
        network = default_network(spec, sizes, activation=settings.activation, seed=_branch(seed, 2))
    encoder = Encoder(
        spec,
        1,
        network=network,
        normalize_observations=settings.normalize_observations,
        observation_min_std=settings.observation_min_std,
        function_preserving=False,
        seed=_branch(seed, 3),
    )
    return ValueFunction(encoder if mirror is None else MirroredEncoder(encoder, mirror.observations))


def check_fit(policy: Policy, environments: VectorEnv) -> None:
    """Raise ValueError, which names both sides, if an environment's spaces differ from those of the policy."""
    action_space = environments.single_action_space
    differing = difference(policy.encoder.spec, observation_spec(environments.single_observation_space))
    if differing is not None:
        raise ValueError(f"the agent observes {differing[0]}, the environment gives {differing[1]}")
    if not policy.action_distribution.fits(action_space):
        raise ValueError(
            f"the agent's {type(policy.action_distribution).__name__} distribution does not fit {action_space}"
        )


def _action_distribution(
    settings: PolicySettings, action_space: gym.Space, mirror: MirrorSymmetry | None
) -> ActionDistribution:
    if isinstance(action_space, gym.spaces.Discrete):
        for name in ("initial_std", "final_std", "state_dependent_std", "clipped_likelihood"):
            if getattr(settings, name) != getattr(PolicySettings, name):
                raise ValueError(f"{name}: the actions of {action_space} are not continuous")
        return Categorical(int(action_space.n), int(action_space.start))
    if isinstance(action_space, gym.spaces.Box):
        return Gaussian(
            action_space.low.ravel().tolist(),
            action_space.high.ravel().tolist(),
            action_shape=action_space.shape,
            state_dependent_std=settings.state_dependent_std,
            initial_std=settings.initial_std,
            final_std=settings.final_std,
            clipped_likelihood=settings.clipped_likelihood,
            std_groups=None if mirror is None or settings.state_dependent_std else _groups(mirror, action_space),
        )
    raise ValueError(f"the action space {action_space} is not supported: only Box and Discrete are")


def _groups(mirror: MirrorSymmetry, action_space: gym.spaces.Box) -> list[int]:
    """Number the actions so that an action and its image have the same number."""
    if len(mirror.actions.signs) != action_space.low.size:
        raise ValueError(f"the mirror is one of {len(mirror.actions.signs)} actions, not of {action_space.low.size}")
    first = [min(position, source) for position, source in enumerate(mirror.actions.sources)]
    return np.unique(first, return_inverse=True)[1].tolist()


def _checked_mirror(settings: PolicySettings, mirror: MirrorSymmetry | None) -> MirrorSymmetry | None:
    if mirror is None:
        if settings.mirror:
            raise ValueError("mirror: the settings ask for a mirror symmetry, and none is given")
        return None
    if not isinstance(mirror, MirrorSymmetry):
        raise TypeError(f"mirror must be a MirrorSymmetry, as of tf_trpo.environments.known_mirror(id), not {mirror!r}")
    return mirror


def _branch(seed: int | None, branch: int) -> int | None:
    return None if seed is None else int(np.random.SeedSequence([seed, branch]).generate_state(1)[0] >> 1)

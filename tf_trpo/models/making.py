"""Make policies and value functions for an environment's spaces."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, cast, get_args

import gymnasium as gym
import keras
import numpy as np
from gymnasium.vector import VectorEnv

from tf_trpo.distributions import make_action_distribution
from tf_trpo.models.cells import DEFAULT_SPAN, DEFAULT_UNITS, like, make_cell
from tf_trpo.models.encoder import Encoder
from tf_trpo.models.mirror_symmetry import MirroredEncoder, MirrorSymmetry
from tf_trpo.models.networks import default_network, feature_shape
from tf_trpo.models.policy import Policy
from tf_trpo.models.settings import MemoryKind, PolicySettings, ValueSettings
from tf_trpo.models.structure import copy_weights
from tf_trpo.models.value_function import ValueFunction
from tf_trpo.ranges import described, require
from tf_trpo.spaces import MASKED_ACTIONS, Spec, difference, mask_of, observation_spec


def make_policy(
    settings: PolicySettings,
    observation_space: gym.Space,
    action_space: gym.Space,
    *,
    network: keras.Model | None = None,
    memory: MemoryKind | keras.layers.Layer | None = None,
    mirror: MirrorSymmetry | None = None,
    seed: int | None = None,
) -> Policy:
    """Make a policy for an environment's spaces.

    Args:
      settings: settings of the policy.
      observation_space: a space that `observation_spec` supports.
      action_space: a space that `make_action_distribution` supports.
      network: any keras.Model from the encoder's inputs to features [N, F]; by default `default_network`. Networks that
        `check_network` refuses are not allowed.
      memory: "gru", "lstm", or a Keras cell, of which the policy gets a copy with new weights. Default: the settings.
      mirror: the environment's symmetry, which the policy will respect.
      seed: seed of the initial weights.

    Raises:
      ValueError: a space is not supported, the mirror does not fit the spaces, or a setting has no effect in them.
      TypeError: the mirror is not a `MirrorSymmetry`, or the network is not a keras.Model.
    """
    _check_mirror(settings, mirror)
    spec = observation_spec(observation_space)
    distribution = make_action_distribution(action_space, settings, mirror.actions if mirror is not None else None)
    mask, size = mask_of(spec, spec), distribution.mask_size
    if mask is not None and size != math.prod(mask.shape):
        found = f"the environment gives an action_mask of {math.prod(mask.shape)} elements"
        if size is not None:
            raise ValueError(f"{found}, and its actions have {size} choices")
        raise ValueError(f"{found}, and {MASKED_ACTIONS}: leave the entry out by a wrapper")
    encoder = _encoder(settings, settings, spec, distribution.num_outputs, network, memory, seed)
    if mirror is None:
        return Policy(encoder, distribution)
    return Policy(MirroredEncoder(encoder, mirror.observations, distribution.mirrored(mirror.actions)), distribution)


def make_value_function(
    settings: PolicySettings,
    value_settings: ValueSettings,
    observation_space: gym.Space,
    *,
    network: keras.Model | None = None,
    memory: MemoryKind | keras.layers.Layer | None = None,
    mirror: MirrorSymmetry | None = None,
    seed: int | None = None,
) -> ValueFunction:
    """Make the value function for a policy.

    The arguments and errors are the same as for `make_policy`. The same seed gives the value function other initial
    weights than the policy.
    """
    _check_mirror(settings, mirror)
    encoder = _encoder(settings, value_settings, observation_spec(observation_space), 1, network, memory, seed)
    return ValueFunction(encoder if mirror is None else MirroredEncoder(encoder, mirror.observations))


def make_value_functions(
    settings: PolicySettings,
    value_settings: ValueSettings,
    observation_space: gym.Space,
    count: int,
    network: keras.Model | None = None,
    *,
    seed: int | None = None,
    **shared: Any,
) -> list[ValueFunction]:
    """Make `count` value functions, of the rewards and the costs; each has its own copy of the network.

    The other arguments and the errors are those of `make_value_function`.
    """
    made = []
    for place in range(count):
        own = network if place == 0 or network is None else _copied(network, observation_spec(observation_space))
        branch = _branch(seed, 16 + place) if place else seed
        made.append(
            make_value_function(settings, value_settings, observation_space, network=own, seed=branch, **shared)
        )
    return made


def _copied(network: keras.Model, spec: Spec) -> keras.Model:
    try:
        copy = keras.models.clone_model(network)
    except (NotImplementedError, TypeError, ValueError) as error:
        message = " ".join(str(error).split())[:300]
        raise ValueError(f"value_network cannot be copied, and costs need a copy each: {message}") from error
    feature_shape(copy, spec)
    copy_weights(network, copy)
    return copy


def check_fit(policy: Policy, environments: VectorEnv) -> None:
    """Raise ValueError if the spaces of an environment differ from those of the policy; the message names both."""
    spaces = environments.single_observation_space, environments.single_action_space
    check_spaces(policy, *spaces, "the environment gives")


def check_spaces(policy: Policy, observation_space: gym.Space, action_space: gym.Space, whose: str) -> None:
    """Raise ValueError if spaces differ from those of the policy; in the message, `whose` precedes the spaces."""
    differing = difference(policy.encoder.spec, observation_spec(observation_space))
    if differing is not None:
        raise ValueError(f"the agent observes {differing[0]}, {whose} {differing[1]}")
    different = policy.action_distribution.difference(action_space)
    if different is not None:
        kind = type(policy.action_distribution).__name__
        raise ValueError(f"the agent's {kind} distribution does not fit {action_space}: {different}")


def _encoder(
    settings: PolicySettings,
    of: PolicySettings | ValueSettings,
    spec: Spec,
    num_outputs: int,
    network: keras.Model | None,
    memory: MemoryKind | keras.layers.Layer | None,
    seed: int | None,
) -> Encoder:
    """Make the encoder of a policy or a value function; `of` are the settings of that model itself."""
    prefix, first = ("value_", 2) if isinstance(of, ValueSettings) else ("", 0)
    sizes = f"{prefix}hidden_sizes"
    name = None if network is None else f"{prefix}network"
    if network is None:
        hidden = getattr(of, sizes)
        network = default_network(spec, hidden, activation=settings.activation, seed=_branch(seed, first))
    elif getattr(of, sizes) != getattr(type(of), sizes):
        raise ValueError(f"{sizes} is for the default network, and {prefix}network replaces it: give one of the two")
    return Encoder(
        spec,
        num_outputs,
        network=network,
        normalize_observations=settings.normalize_observations,
        scale_inputs=name is None,
        observation_min_std=settings.observation_min_std,
        function_preserving=settings.function_preserving and not prefix,
        cell=_cell(settings, memory, _branch(seed, first + 4)),
        seed=_branch(seed, first + 1),
        network_name=name,
    )


def _cell(
    settings: PolicySettings, memory: MemoryKind | keras.layers.Layer | None, seed: int | None
) -> keras.layers.Layer | None:
    """Make the cell of a memory: of a named kind, as a copy of a given cell, or from the settings."""
    if memory is None:
        memory = settings.memory
    elif settings.memory not in (None, memory):
        raise ValueError(f"memory: the settings name {settings.memory}, and {memory!r} is given")
    if isinstance(memory, str):
        require(memory in get_args(MemoryKind), "memory", described(MemoryKind), memory)
        units, span = settings.memory_units or DEFAULT_UNITS, settings.memory_span or DEFAULT_SPAN
        return make_cell(cast(MemoryKind, memory), units, seed, span=span)
    return None if memory is None else like(memory, seed)


def with_memory(
    settings: PolicySettings, memory: MemoryKind | keras.layers.Layer | None, **given: float | None
) -> PolicySettings:
    """Return settings with the memory_units and the memory_span that are given; None keeps the settings.

    Raises:
      ValueError: there is no memory, or it is a Keras cell, or the settings have another number.
    """
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    for name, value in changes.items():
        if isinstance(memory, keras.layers.Layer):
            raise ValueError(f"{name} must be None with the cell {memory!r}, which is used as it is")
        if getattr(settings, name) not in (None, value):
            raise ValueError(f"{name}: the settings have {getattr(settings, name)}, and {value} is given")
    # One replacement at once, because each part is checked with the others.
    return dataclasses.replace(settings, memory=settings.memory or memory, **changes) if changes else settings


def _check_mirror(settings: PolicySettings, mirror: MirrorSymmetry | None) -> None:
    if mirror is None and settings.mirror:
        raise ValueError("mirror: the settings ask for a mirror symmetry, and none is given")
    if not isinstance(mirror, MirrorSymmetry | None):
        raise TypeError(f"mirror must be a MirrorSymmetry, as of tf_trpo.environments.known_mirror(id), not {mirror!r}")


def _branch(seed: int | None, branch: int) -> int | None:
    return None if seed is None else int(np.random.SeedSequence([seed, branch]).generate_state(1)[0] >> 1)

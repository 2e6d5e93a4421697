"""Make the action distribution for an action space."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Protocol

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from tf_trpo.distributions.action_distribution import ActionDistribution
from tf_trpo.distributions.beta import Beta
from tf_trpo.distributions.categorical import Categorical
from tf_trpo.distributions.gaussian import Gaussian
from tf_trpo.distributions.multi_categorical import MultiCategorical
from tf_trpo.distributions.product import Product
from tf_trpo.numerics import Reflection
from tf_trpo.spaces import MOST_CHOICES, choices

_OF_GAUSSIANS = ("initial_std", "final_std", "state_dependent_std", "clipped_likelihood")


class ActionSettings(Protocol):
    """Settings of continuous actions; their defaults must be attributes of the class, as in a dataclass."""

    @property
    def distribution(self) -> Literal["gaussian", "beta"]: ...
    @property
    def initial_std(self) -> float | None: ...
    @property
    def final_std(self) -> float | None: ...
    @property
    def state_dependent_std(self) -> bool: ...
    @property
    def clipped_likelihood(self) -> bool: ...


def make_action_distribution(
    action_space: gym.Space, settings: ActionSettings, mirror: Reflection | None = None
) -> ActionDistribution:
    """Make a Gaussian or Beta for a Box of floats, softmaxes for integers, a product for a Dict or Tuple.

    Args:
      action_space: a Box, Discrete, MultiDiscrete or MultiBinary space, or a nested Dict or Tuple of these.
      settings: settings of continuous actions.
      mirror: the reflection of the actions that the policy respects. Actions that mirror each other share a standard
        deviation.

    Raises:
      ValueError: the space is not supported, the mirror has another number of actions, or a setting has no effect in
        the space; the message says what to do.
    """
    dimensions = continuous_dimensions(action_space)
    if not dimensions:
        _refuse(settings, ("distribution", *_OF_GAUSSIANS), f"the actions of {action_space} are not continuous")
    elif settings.distribution == "beta":
        _refuse(settings, _OF_GAUSSIANS, "a Beta distribution does not use it")
    std = default_std(dimensions) if settings.initial_std is None else settings.initial_std
    return _make(action_space, settings, std, mirror, "")


def default_std(dimensions: int) -> float:
    """Return the initial standard deviation of Gaussians with d dimensions: 1, or 4 / d if d > 4.

    So the sum of the standard deviations of all dimensions is at most 4.
    """
    return 4.0 / max(dimensions, 4)


def continuous_dimensions(action_space: gym.Space) -> int:
    """Count the dimensions of the Boxes of floats in an action space."""
    leaves = _leaves(action_space)
    return sum(
        space.low.size for space in leaves if isinstance(space, spaces.Box) and np.dtype(space.dtype).kind == "f"
    )


def _make(
    space: gym.Space, settings: ActionSettings, std: float, mirror: Reflection | None, place: str
) -> ActionDistribution:
    if isinstance(space, spaces.Discrete):
        return Categorical(int(space.n), int(space.start), action_dtype=str(space.dtype))
    if isinstance(space, spaces.MultiDiscrete):
        return MultiCategorical(space.nvec.tolist(), space.start.tolist(), action_dtype=str(space.dtype))
    if isinstance(space, spaces.MultiBinary) and space.shape and np.prod(space.shape):
        sizes = np.full(space.shape, 2).tolist()
        return MultiCategorical(sizes, action_dtype=str(space.dtype), space="MultiBinary")
    if isinstance(space, spaces.Box) and space.low.size:
        return _make_box(space, settings, std, mirror, place)
    if isinstance(space, spaces.Dict) and space.spaces and all(isinstance(name, str) for name in space.spaces):
        parts = space.spaces.items()
        return Product({name: _make(part, settings, std, None, f"{place}{name}/") for name, part in parts})
    if isinstance(space, spaces.Tuple) and space.spaces:
        return Product(tuple(_make(part, settings, std, None, f"{place}{i}/") for i, part in enumerate(space.spaces)))
    raise ValueError(
        f"{_named(place)}the action space {space} is not supported: turn it into a Box, Discrete, MultiDiscrete, "
        "MultiBinary, or a Dict or Tuple of these by a wrapper (gymnasium.wrappers.TransformAction)"
    )


def _make_box(
    space: spaces.Box, settings: ActionSettings, std: float, mirror: Reflection | None, place: str
) -> ActionDistribution:
    dtype = np.dtype(space.dtype)
    if dtype.kind in "biu":
        found = choices(space)
        if found is None:
            raise ValueError(
                f"{_named(place)}the integers of {space} have more than {MOST_CHOICES} choices: turn them into a Box "
                "of floats by a wrapper that rounds (gymnasium.wrappers.TransformAction)"
            )
        counts, first = (numbers.reshape(space.shape) for numbers in found)
        return MultiCategorical(counts, first.tolist(), action_dtype=str(dtype), space="Box")
    if dtype.itemsize > np.dtype(np.float64).itemsize:
        raise ValueError(
            f"{_named(place)}the actions of {space} have more digits than float64: make the Box of float64"
        )
    bounds = space.low.tolist(), space.high.tolist()
    if settings.distribution == "beta":
        try:
            return Beta(*bounds, action_dtype=str(dtype))
        except ValueError as error:
            raise ValueError(f"distribution: {_named(place)}{error}") from None
    return Gaussian(
        *bounds,
        action_dtype=str(dtype),
        state_dependent_std=settings.state_dependent_std,
        initial_std=std,
        final_std=settings.final_std,
        clipped_likelihood=settings.clipped_likelihood,
        std_groups=None if mirror is None or settings.state_dependent_std else _groups(mirror, space),
    )


def _groups(mirror: Reflection, space: spaces.Box) -> list[int]:
    """Return a group number for each action, such that an action and its mirror image have the same number."""
    if len(mirror.signs) != space.low.size:
        raise ValueError(f"the mirror is one of {len(mirror.signs)} actions, not of {space.low.size}")
    first = [min(position, source) for position, source in enumerate(mirror.sources)]
    return np.unique(first, return_inverse=True)[1].tolist()


def _refuse(settings: ActionSettings, names: tuple[str, ...], reason: str) -> None:
    for name in names:
        if getattr(settings, name) != getattr(type(settings), name):
            raise ValueError(f"{name}: {reason}")


def _leaves(space: gym.Space) -> Iterator[gym.Space]:
    if isinstance(space, spaces.Dict | spaces.Tuple):
        for part in space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces:
            yield from _leaves(part)
    else:
        yield space


def _named(place: str) -> str:
    return f"{place.removesuffix('/')}: " if place else ""

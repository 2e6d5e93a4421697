"""Stack the last few observations into one."""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from tf_trpo.environments.failures import UnfitSpaceError
from tf_trpo.environments.sync import copied
from tf_trpo.spaces import ACTION_MASK
from tf_trpo.spaces.specs import channels_first, is_image

_Stack = Callable[[Sequence[Any]], Any]


class FrameStack(gym.Wrapper):
    """Concatenates the last few observations, newest last: vectors end to end, images along their channels.

    At the beginning of an episode, its first observation is repeated. In a nested Dict or Tuple, every Box is
    concatenated; the other parts, such as a Discrete or an action mask, are those of the newest observation. Images
    without a channel axis (two axes, bytes from 0 to 255) become the channels of one image.

    Args:
      env: an environment whose observation is, or contains, a Box.
      frames: number of observations, >= 1.

    Raises:
      ValueError: the observation has no Box, frames is less than 1, or images would get more channels than they have
        pixels on a side, so that the channel axis could not be recognised.
    """

    def __init__(self, env: gym.Env, frames: int) -> None:
        super().__init__(env)
        if frames < 1:
            raise UnfitSpaceError(f"frames must be at least 1, got {frames}")
        stacked = _stacked(env.observation_space, frames, ACTION_MASK)
        if stacked is None:
            raise UnfitSpaceError(f"the observation space {env.observation_space} has no Box to stack")
        self.observation_space, self._join = stacked
        self._frames: collections.deque[Any] = collections.deque(maxlen=frames)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(**kwargs)
        # An environment may reuse its arrays.
        self._frames.extend([copied(observation)] * (self._frames.maxlen or 1))
        return self._join(self._frames), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, *others = self.env.step(action)
        self._frames.append(copied(observation))
        return self._join(self._frames), *others


def _stacked(space: spaces.Space, frames: int, mask: str | None = None) -> tuple[spaces.Space, _Stack] | None:
    """Return the space of stacked observations and the function that stacks; None if only the mask has a Box."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return _stacked_parts(space, frames, mask)
    if not isinstance(space, spaces.Box):
        return None
    shape, axis = _layout(space)

    def joined(parts: Sequence[Any]) -> np.ndarray:
        return np.concatenate([np.reshape(part, shape) for part in parts], axis=axis)

    low, high = (joined([bound] * frames) for bound in (space.low, space.high))
    box = spaces.Box(low, high, dtype=space.dtype.type)
    if is_image(box.shape, box.dtype.name) and _layout(box)[1] != axis:
        raise UnfitSpaceError(
            f"{frames} frames would make images of shape {box.shape}, whose channels are not the fewest"
        )
    return box, joined


def _stacked_parts(
    space: spaces.Dict | spaces.Tuple, frames: int, mask: str | None
) -> tuple[spaces.Space, _Stack] | None:
    named: dict[Any, Any] = dict(space.spaces if isinstance(space, spaces.Dict) else enumerate(space.spaces))
    stacked = {name: None if name == mask else _stacked(part, frames) for name, part in named.items()}
    if all(part is None for part in stacked.values()):
        return None
    found = {name: named[name] if part is None else part[0] for name, part in stacked.items()}

    def joined(observations: Sequence[Any]) -> Any:
        parts = {
            name: observations[-1][name] if part is None else part[1]([each[name] for each in observations])
            for name, part in stacked.items()
        }
        return parts if isinstance(space, spaces.Dict) else tuple(parts.values())

    return (spaces.Dict(found) if isinstance(space, spaces.Dict) else spaces.Tuple(list(found.values()))), joined


def _layout(space: spaces.Box) -> tuple[tuple[int, ...], int]:
    """Return the shape of a frame, and the axis to concatenate along: an image's channel axis, or the last axis."""
    shape = space.shape or (1,)
    if len(shape) == 2 and space.dtype == np.uint8 and (space.high == 255).all():
        return (*shape, 1), -1
    return shape, 0 if len(shape) == 3 and channels_first(shape) else -1

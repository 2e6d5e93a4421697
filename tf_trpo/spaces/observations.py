"""From Gymnasium's observation spaces to specs, and from observations to arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from tf_trpo.spaces.specs import PartSpec, Spec, is_image, map_parts

ACTION_MASK = "action_mask"
"""Name of the entry of a Dict that says which actions are allowed, as 0 and 1."""


def observation_spec(space: spaces.Space) -> Spec:
    """Describe an observation space.

    Args:
      space: a Box, Discrete, MultiDiscrete or MultiBinary space, or a Dict or Tuple of these, nested.

    Raises:
      ValueError: a space without a fixed size; the message says what to do.
    """
    return _spec(space, "")


def as_arrays(spec: Spec, observation: Any, batch: int | None = None) -> Any:
    """Turn an observation, or a batch of them, as an environment gives it, into arrays of the spec's types.

    Args:
      spec: of one observation.
      observation: a nest of numbers and arrays.
      batch: number of rows that all arrays must have in front; None for a single observation.

    Raises:
      ValueError: a part has another shape, or holds no numbers that its type can hold.
    """

    def array(part: PartSpec, value: Any) -> np.ndarray:
        given = np.asarray(value)
        shape = part.shape if batch is None else (batch, *part.shape)
        if given.shape != shape or given.dtype.kind not in "biuf":
            raise ValueError(f"an observation must be an array {shape} of numbers, got {given.dtype} {given.shape}")
        return given.astype(part.dtype, copy=False)

    return map_parts(array, spec, observation)


def _spec(space: spaces.Space, place: str) -> Spec:
    if isinstance(space, spaces.Dict):
        return {name: _entry(str(name), part, place) for name, part in sorted(space.spaces.items())}
    if isinstance(space, spaces.Tuple):
        below = f"{place}/" if place else ""
        return tuple(_spec(part, f"{below}{i}") for i, part in enumerate(space.spaces))
    if isinstance(space, spaces.Discrete):
        return PartSpec((), str(space.dtype), "one-hot", (int(space.n),), (int(space.start),))
    if isinstance(space, spaces.MultiDiscrete):
        sizes, starts = (tuple(int(number) for number in of.ravel()) for of in (space.nvec, space.start))
        return PartSpec(space.shape, str(space.dtype), "one-hot", sizes, starts)
    if isinstance(space, spaces.MultiBinary):
        return PartSpec(space.shape, str(space.dtype), "binary")
    if isinstance(space, spaces.Box) and space.dtype is not None and space.dtype.kind in "biuf":
        return PartSpec(space.shape, str(space.dtype), "image" if is_image(space.shape, str(space.dtype)) else "vector")
    where = f"{place} of the observation" if place else "the observation"
    raise ValueError(f"{where} is {type(space).__name__}, {_way_out(space)}")


def _entry(name: str, space: spaces.Space, place: str) -> Spec:
    """Describe an entry of a Dict; the outermost one may hold the mask."""
    mask = _mask(space) if name == ACTION_MASK and not place else None
    return mask or _spec(space, f"{place}/{name}" if place else name)


def _way_out(space: spaces.Space) -> str:
    if isinstance(space, spaces.Text):
        return (
            "which is text: leave it out by tf_trpo.environments.WithoutText "
            "(--wrapper tf_trpo.environments:WithoutText), or turn it into numbers by a wrapper"
        )
    return (
        "which has no fixed size: turn it into a Box by a wrapper (gymnasium.ObservationWrapper), for example by "
        "padding; Box, Discrete, MultiDiscrete, MultiBinary, and Dict and Tuple of these are supported"
    )


def _mask(space: spaces.Space) -> PartSpec | None:
    bits = isinstance(space, spaces.MultiBinary) or (
        isinstance(space, spaces.Box)
        and space.dtype is not None
        and space.dtype.kind in "biu"
        and bool(np.all(space.low == 0) and np.all(space.high == 1))
    )
    return PartSpec(space.shape or (), str(space.dtype), "mask") if bits else None

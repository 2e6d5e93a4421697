"""From Gymnasium's observation spaces to specs, and from observations to arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from tf_trpo.spaces.specs import PartSpec, Spec, flatten_to, is_image, map_parts

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


def as_arrays(spec: Spec, observations: Any, batch: int) -> Any:
    """Turn a batch of observations, as an environment gives it, into arrays [batch, ...] of the spec's types.

    Args:
      spec: of one observation.
      observations: a nest of numbers and arrays.
      batch: number of rows that all arrays must have.

    Raises:
      ValueError: a part has another shape, or holds no numbers that its type can hold.
    """

    def array(part: PartSpec, value: Any) -> np.ndarray:
        given = np.asarray(value)
        if given.shape != (batch, *part.shape):
            raise ValueError(f"observations must be an array {(batch, *part.shape)}, got one of shape {given.shape}")
        whole = given.dtype.kind in "biu" or (given.dtype.kind == "f" and bool(np.all(given == np.rint(given))))
        if not (whole or (given.dtype.kind == "f" and np.dtype(part.dtype).kind == "f")):
            raise ValueError(f"observations must be numbers of type {part.dtype}, got {given.dtype}")
        return given.astype(part.dtype, copy=False)

    return map_parts(array, spec, observations)


def as_batch(spec: Spec, observations: Any) -> tuple[Any, bool]:
    """Turn one observation, or a batch of them, into a batch.

    Args:
      spec: of one observation.
      observations: a nest of numbers and arrays, as the environment gives it.

    Returns:
      The batch, a nest of arrays [N, ...], and whether it was one observation.

    Raises:
      ValueError: the observations are neither, or a choice is none of the space.
    """
    shapes = map_parts(lambda part, value: (part.shape, np.shape(value)), spec, observations)
    pairs = flatten_to(spec, shapes)
    single = all(own == found for own, found in pairs)
    rows = {found[0] for own, found in pairs if found and found[1:] == own}
    if not single and (len(rows) != 1 or any(found != (*rows, *own) for own, found in pairs)):
        own, found = next((pair for pair in pairs if pair[0] != pair[1][1:]), pairs[0])
        expected = f"[N{''.join(f', {size}' for size in own)}]"
        raise ValueError(f"observations must be one {list(own)} or a batch {expected}, got shape {list(found)}")
    if single:
        observations = map_parts(lambda _, value: np.asarray(value)[None], spec, observations)
    batch = as_arrays(spec, observations, 1 if single else rows.pop())
    map_parts(_check_choices, spec, batch)
    return batch, single


def _check_choices(part: PartSpec, rows: np.ndarray) -> None:
    if part.kind == "one-hot":
        first = np.reshape(part.starts, part.shape)
        if np.any((rows < first) | (rows >= first + np.reshape(part.sizes, part.shape))):
            raise ValueError(f"an observation holds none of the choices of the space: {rows[:1].tolist()}")


def is_text(space: spaces.Space) -> bool:
    """Tell whether the elements of a space are text, as those of Text and of MiniGrid's MissionSpace are."""
    return isinstance(space, spaces.Text) or (space.dtype is not None and space.dtype.kind == "U")


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
    if is_text(space):
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

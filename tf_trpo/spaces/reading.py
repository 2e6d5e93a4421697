"""Checking observations, of environments and of those who ask for an action."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tf_trpo.spaces.specs import PartSpec, Spec, WrongValueError, check_structure, flatten_to, kind_of, map_parts

Reader = Callable[[Any], Any]


def observation_reader(spec: Spec, batch: int | None = None, *, whole_floats: bool = False) -> Reader:
    """Make a function that checks an observation and gives the same nest of arrays or numbers of the spec's types.

    An array that already has its part's shape and type is given as it is. Whole numbers are taken for floats, and
    floats of another precision, but no floats for whole numbers, and no number that its type or its space cannot hold.

    Args:
      spec: of one observation.
      batch: number of rows that all arrays must have in front; None for a single observation.
      whole_floats: take floats for whole numbers if they are whole.

    Returns:
      A function that raises WrongValueError if a part is missing, or has another shape or type.
    """
    return _reader(spec, "", () if batch is None else (batch,), whole_floats)


def as_batch(spec: Spec, observations: Any) -> tuple[Any, bool]:
    """Turn one observation, or a batch of them, into a batch.

    Args:
      spec: of one observation.
      observations: a nest of numbers and arrays, as the environment gives it; floats may stand for whole numbers.

    Returns:
      The batch, a nest of arrays [N, ...], and whether it was one observation.

    Raises:
      ValueError: the observations are neither, or a number is not finite or none of the space.
    """
    try:
        given = map_parts(lambda _, value: _numbers(value, "an observation"), spec, observations)
        single, rows = _rows(flatten_to(spec, map_parts(lambda part, array: (part.shape, array.shape), spec, given)))
        given = map_parts(lambda _, array: array[None], spec, given) if single else given
        batch = observation_reader(spec, rows, whole_floats=True)(given)
        # In float32, as networks compute: what is not a number is not at most anything.
        if not all((np.abs(part) <= np.finfo(np.float32).max).all() for part in flatten_to(spec, batch)):
            raise WrongValueError("an observation that is not finite")
    except WrongValueError as error:
        raise ValueError(f"the agent cannot act on {error}") from None
    return batch, single


def _rows(shapes: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> tuple[bool, int]:
    """Tell from the shapes of parts and of arrays whether there is one observation, and how many rows it makes."""
    if all(own == found for own, found in shapes):
        return True, 1
    rows = {found[0] for own, found in shapes if found and found[1:] == own}
    if len(rows) != 1 or any(found != (*rows, *own) for own, found in shapes):
        own, found = next((pair for pair in shapes if pair[0] != pair[1][1:]), shapes[0])
        expected = f"[N{''.join(f', {size}' for size in own)}]"
        raise ValueError(f"observations must be one {list(own)} or a batch {expected}, got shape {list(found)}")
    return False, rows.pop()


def number_array(value: Any) -> np.ndarray | None:
    """Make an array of numbers; None if there are others in it."""
    try:
        array = np.asarray(value)
    except Exception:  # Objects convert themselves, and may raise anything.
        return None
    return array if array.dtype.kind in "biuf" else None


def _reader(spec: Spec, place: str, batch: tuple[int, ...], whole_floats: bool) -> Reader:
    if isinstance(spec, PartSpec):
        return _part_reader(spec, place, batch, whole_floats)
    named = spec.items() if isinstance(spec, dict) else enumerate(spec)
    below = f"{place}/" if place else ""
    readers = [(name, _reader(part, f"{below}{name}", batch, whole_floats)) for name, part in named]

    def read(given: Any) -> Any:
        check_structure(spec, given, place)
        if isinstance(spec, dict):
            return {name: read(given[name]) for name, read in readers}
        return tuple(read(given[place]) for place, read in readers)

    return read


def _part_reader(spec: PartSpec, place: str, batch: tuple[int, ...], whole_floats: bool) -> Reader:
    dtype, shape = np.dtype(spec.dtype), (*batch, *spec.shape)
    what = f"{place} of the observation" if place else "an observation"

    def read(value: Any) -> Any:
        # A short way for almost all: an equal type that is another object goes the long way.
        if type(value) is np.ndarray and value.dtype is dtype and value.shape == shape:
            return value
        return _converted(value, dtype, shape, what, whole_floats)

    if spec.kind in ("vector", "image"):
        return read
    # A bit is one of two choices.
    sizes, starts = (spec.sizes, spec.starts) if spec.kind == "one-hot" else ((2,), (0,))
    of = spec.shape if spec.kind == "one-hot" else ()
    lowest, largest = np.reshape(starts, of), np.reshape(np.add(starts, sizes) - 1, of)
    bits, single = spec.kind != "one-hot" and dtype.kind in "iu", range(starts[0], starts[0] + sizes[0])

    def read_choice(value: Any) -> Any:
        # The usual ones are fast.
        if not shape and type(value) is int and value in single:
            return value
        found = read(value)
        if bits and not (found >> 1).any():
            return found
        if not ((found >= lowest) & (found <= largest) & (found == np.rint(found))).all():
            raise WrongValueError(f"{what} that lies outside of its space: {np.array2string(found, threshold=10)}")
        return found

    return read_choice


def _converted(value: Any, dtype: np.dtype, shape: tuple[int, ...], what: str, whole_floats: bool) -> np.ndarray:
    array = _numbers(value, what)
    if array.shape != shape:
        raise WrongValueError(f"{what} of shape {array.shape}, its space has {shape}")
    if not _can_hold(dtype, array, whole_floats):
        raise WrongValueError(f"{what} of type {array.dtype}, its space has {dtype}")
    # A float64 that is infinite in float32 is found later: rollouts and those who ask for an action check for it.
    with np.errstate(over="ignore"):
        return array.astype(dtype, copy=False)


def _numbers(value: Any, what: str) -> np.ndarray:
    array = number_array(value)
    if array is None:
        raise WrongValueError(f"{what} that holds no numbers, but {kind_of(value)}")
    return array


def _can_hold(dtype: np.dtype, array: np.ndarray, whole_floats: bool) -> bool:
    if dtype.kind == "f" or np.can_cast(array.dtype, dtype):
        return True
    if array.dtype.kind == "f" and not (whole_floats and np.array_equal(array, np.rint(array))):
        return False
    lowest, largest = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return bool(array.size == 0 or (array.min() >= lowest and array.max() <= largest))

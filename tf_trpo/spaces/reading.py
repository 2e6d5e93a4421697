"""Check and convert observations, from environments and from callers who ask for actions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tf_trpo.spaces.specs import PartSpec, Spec, WrongValueError, check_structure, flatten_to, kind_of, map_parts

Reader = Callable[[Any], Any]


def observation_reader(spec: Spec, batch: int | None = None, *, whole_floats: bool = False) -> Reader:
    """Make a function that checks an observation and converts it to the dtypes of a spec.

    Arrays with the right shape and dtype are returned unchanged. Integers, and floats of another precision, are
    converted to floats. Floats are not converted to integers, and numbers that the dtype or the space cannot hold are
    refused.

    Args:
      spec: spec of one observation.
      batch: size of the first axis that all arrays must have; None for a single observation.
      whole_floats: convert floats with integer values to integers.

    Returns:
      A function from observations to nests of arrays or numbers. It raises WrongValueError if a part is missing, or has
      another shape or type.
    """
    return _reader(spec, "", () if batch is None else (batch,), whole_floats)


def as_batch(spec: Spec, observations: Any) -> tuple[Any, bool]:
    """Convert one observation, or a batch of observations, to a batch.

    Args:
      spec: spec of one observation.
      observations: a nest of numbers and arrays, as environments return it; integers may be given as floats.

    Returns:
      The batch, a nest of arrays [N, ...], and whether one observation was given.

    Raises:
      ValueError: the shapes are wrong, or a number is not finite or not in the space.
    """
    try:
        given = map_parts(lambda _, value: _numbers(value, "an observation"), spec, observations)
        single, rows = _rows(flatten_to(spec, map_parts(lambda part, array: (part.shape, array.shape), spec, given)))
        given = map_parts(lambda _, array: array[None], spec, given) if single else given
        batch = observation_reader(spec, rows, whole_floats=True)(given)
        if not all(is_finite(part).all() for part in flatten_to(spec, batch)):
            raise WrongValueError("an observation that is not finite in float32")
    except WrongValueError as error:
        raise ValueError(f"the agent cannot act on {error}") from None
    return batch, single


def joined_mask(given: Any) -> np.ndarray:
    """Return the mask of one observation as a vector; given is one array, or a list of one for each action."""
    return np.concatenate([np.ravel(part) for part in (given if isinstance(given, list | tuple) else [given])])


def entries_of(observation: Any) -> dict[str, Any]:
    """Return the entries to which a mask is added, of an observation or of a space, which need not be a Dict."""
    return {**observation} if isinstance(observation, Mapping) else {"observation": observation}


def _rows(shapes: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> tuple[bool, int]:
    """Return whether arrays are one observation, and the number of rows; `shapes` are pairs (part's, array's)."""
    if all(own == found for own, found in shapes):
        return True, 1
    rows = {found[0] for own, found in shapes if found and found[1:] == own}
    if len(rows) != 1 or any(found != (*rows, *own) for own, found in shapes):
        if all(found and found[1:] == own for own, found in shapes):
            sizes = " and ".join(str(size) for size in dict.fromkeys(found[0] for _, found in shapes))
            raise ValueError(f"the parts of the observations are batches of {sizes}: give all parts of the same size")
        own, found = next((pair for pair in shapes if pair[0] != pair[1][1:]), shapes[0])
        expected = f"[N{''.join(f', {size}' for size in own)}]"
        raise ValueError(f"observations must be one {list(own)} or a batch {expected}, got shape {list(found)}")
    return False, rows.pop()


def is_finite(array: np.ndarray) -> np.ndarray:
    """Return which numbers of an array are finite in float32, in which networks compute; bool, of the same shape."""
    # The comparison is False for NaN.
    fine: np.ndarray = np.abs(array) <= np.finfo(np.float32).max
    return fine


def number_array(value: Any) -> np.ndarray | None:
    """Convert a value to an array of numbers; None if it holds anything else."""
    try:
        array = np.asarray(value)
    except Exception:  # Objects may define their own conversion, which may raise anything.
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
        # The fast path for nearly all values; equal dtypes are nearly always the same object.
        if type(value) is np.ndarray and value.dtype is dtype and value.shape == shape:
            return value
        return _converted(value, dtype, shape, what, whole_floats)

    if spec.kind in ("vector", "image"):
        return read
    # Bits are checked as choices of 0 and 1.
    sizes, starts = (spec.sizes, spec.starts) if spec.kind == "one-hot" else ((2,), (0,))
    of = spec.shape if spec.kind == "one-hot" else ()
    lowest, largest = np.reshape(starts, of), np.reshape(np.add(starts, sizes) - 1, of)
    bits, single = spec.kind != "one-hot" and dtype.kind in "iu", range(starts[0], starts[0] + sizes[0])

    def read_choice(value: Any) -> Any:
        # Fast paths for the usual types.
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
    # A float64 that becomes infinite in float32 is refused later, by the checks of rollouts and of `as_batch`.
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

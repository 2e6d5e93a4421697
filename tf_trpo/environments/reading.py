"""Checking what environments give: observations, rewards, flags and figures of an info."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tf_trpo.spaces import PartSpec, Spec

Reader = Callable[[Any], Any]


class WrongValueError(ValueError):
    """A value has another type or shape than it must have; the message completes "the environment gave ..."."""


def observation_reader(spec: Spec, batch: int | None = None) -> Reader:
    """Make a function that checks an observation and gives the same nest of arrays or numbers of the spec's types.

    An array that already has its part's shape and type is given as it is. Whole numbers are taken for floats, and
    floats of another precision, but no floats for whole numbers, and no number that its type cannot hold.

    Args:
      spec: of one observation.
      batch: number of rows that all arrays must have in front; None for a single observation.

    Returns:
      A function that raises WrongValueError if a part is missing, or has another shape or type.
    """
    return _reader(spec, "", () if batch is None else (batch,))


def number(value: Any) -> float:
    """Convert a number, or an array of one number; raise WrongValueError for anything else."""
    array = _array(value)
    if array is None:
        raise WrongValueError(f"that is no number, but {_kind(value)}")
    if array.size != 1:
        raise WrongValueError(f"that is no number, but an array of shape {array.shape}")
    return float(array.item())


def flag(value: Any) -> bool:
    """Convert true, false, 0, 1, or an array of one of these; raise WrongValueError for anything else."""
    array = _array(value)
    if array is None or array.size != 1 or array.item() not in (0, 1):
        raise WrongValueError(f"that is neither true nor false, but {_kind(value)}")
    return bool(array.item())


def figure(info: Any, key: str) -> float:
    """Find a number of an info by its key, or by the keys of nested infos joined by "/"; NaN if it is absent.

    Raises:
      WrongValueError: the value is no number.
    """
    for name in [key] if isinstance(info, Mapping) and key in info else key.split("/"):
        if not isinstance(info, Mapping) or name not in info:
            return float("nan")
        info = info[name]
    return number(info)


def _reader(spec: Spec, place: str, batch: tuple[int, ...]) -> Reader:
    if isinstance(spec, PartSpec):
        return _part_reader(spec, f"{place} of the observation" if place else "an observation", batch)
    named = spec.items() if isinstance(spec, dict) else enumerate(spec)
    readers = {name: _reader(part, f"{place}/{name}" if place else str(name), batch) for name, part in named}
    what = f"as {place} of the observation" if place else "as an observation"

    def read_dict(given: Any) -> Any:
        if not isinstance(given, Mapping) or given.keys() != readers.keys():
            keys = f"a dict of {', '.join(map(str, given))}" if isinstance(given, Mapping) else _kind(given)
            raise WrongValueError(f"{keys} {what}, its space is a Dict of {', '.join(map(str, readers))}")
        return {name: read(given[name]) for name, read in readers.items()}

    def read_tuple(given: Any) -> Any:
        if not isinstance(given, tuple | list) or len(given) != len(readers):
            size = f"{len(given)} values" if isinstance(given, tuple | list) else _kind(given)
            raise WrongValueError(f"{size} {what}, its space is a Tuple of {len(readers)}")
        return tuple(read(value) for read, value in zip(readers.values(), given, strict=True))

    return read_dict if isinstance(spec, dict) else read_tuple


def _part_reader(spec: PartSpec, what: str, batch: tuple[int, ...]) -> Reader:
    dtype, shape = np.dtype(spec.dtype), (*batch, *spec.shape)
    if spec.kind != "one-hot":

        def read(value: Any) -> Any:
            if type(value) is np.ndarray and value.dtype == dtype and value.shape == shape:
                return value
            return _converted(value, dtype, shape, what)

        return read
    lowest = np.reshape(np.array(spec.starts), spec.shape)
    above = lowest + np.reshape(np.array(spec.sizes), spec.shape)

    def read_choice(value: Any) -> Any:
        found = _converted(value, dtype, shape, what)
        if not ((found >= lowest) & (found < above)).all():
            raise WrongValueError(f"{what} that lies outside of its space: {np.array2string(found, threshold=10)}")
        return found

    return read_choice


def _converted(value: Any, dtype: np.dtype, shape: tuple[int, ...], what: str) -> np.ndarray:
    array = _array(value)
    if array is None:
        raise WrongValueError(f"{what} that holds no numbers, but {_kind(value)}")
    if array.shape != shape:
        raise WrongValueError(f"{what} of shape {array.shape}, its space has {shape}")
    if not _can_hold(dtype, array):
        raise WrongValueError(f"{what} of type {array.dtype}, its space has {dtype}")
    # A float64 that is infinite in float32 is found when the rollout is checked.
    with np.errstate(over="ignore"):
        return array.astype(dtype, copy=False)


def _can_hold(dtype: np.dtype, array: np.ndarray) -> bool:
    if dtype.kind == "f" or np.can_cast(array.dtype, dtype):
        return True
    if array.dtype.kind == "f":
        return False
    lowest, largest = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return bool(array.size == 0 or (array.min() >= lowest and array.max() <= largest))


def _array(value: Any) -> np.ndarray | None:
    """Make an array of numbers; None if there are others in it."""
    try:
        array = np.asarray(value)
    except Exception:  # Objects convert themselves, and may raise anything.
        return None
    return array if array.dtype.kind in "biuf" else None


def _kind(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"

"""Check and convert rewards, flags and numbers of infos that environments return."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tf_trpo.spaces import WrongValueError, kind_of, number_array


def number(value: Any) -> float:
    """Convert a number, or an array of one number, to a float; raise WrongValueError for anything else."""
    array = number_array(value)
    if array is None:
        raise WrongValueError(f"that is not a number, but {kind_of(value)}")
    if array.size != 1:
        raise WrongValueError(f"that is not a number, but an array of shape {array.shape}")
    return float(array.item())


def flag(value: Any) -> bool:
    """Convert True, False, 0, 1, or an array of one of these, to a bool; raise WrongValueError for anything else."""
    array = number_array(value)
    if array is None or array.size != 1 or array.item() not in (0, 1):
        found = kind_of(value) if array is None else np.array2string(array, threshold=10)
        raise WrongValueError(f"that is neither true nor false, but {found}")
    return bool(array.item())


def figure(info: Any, key: str) -> float:
    """Return a number of an info as `find_figure` does; NaN if it is absent."""
    found = find_figure(info, key)
    return float("nan") if found is None else found


def find_figure(info: Any, key: str) -> float | None:
    """Return a number of an info by its key, or by the keys of nested infos joined by "/"; None if it is absent.

    Raises:
      WrongValueError: the value is not a number.
    """
    for name in [key] if isinstance(info, Mapping) and key in info else key.split("/"):
        if not isinstance(info, Mapping) or name not in info:
            return None
        info = info[name]
    return number(info)

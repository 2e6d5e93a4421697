"""Checks of states that come from files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf


def check_values(part: str, variables: Sequence[Any], values: Sequence[Any]) -> None:
    """Raise ValueError unless the values of a checkpoint are finite arrays of the variables' shapes and types."""
    if len(values) != len(variables):
        raise ValueError(f"it has {len(values)} variables of the {part}, here are {len(variables)}")
    for position, (array, variable) in enumerate(zip(values, variables, strict=True)):
        shape, dtype = tuple(variable.shape), np.dtype(tf.as_dtype(variable.dtype).as_numpy_dtype)
        if array.shape != shape or array.dtype != dtype:
            raise ValueError(f"variable {position} of the {part} is {array.dtype} {array.shape}, here {dtype} {shape}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"variable {position} of the {part} is not finite")

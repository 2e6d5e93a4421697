"""Check static shapes, so that a wrong rank raises an error and never broadcasts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tf_trpo.lazy import tensorflow as tf


def merged(rows: tf.Tensor) -> tf.Tensor:
    """Merge the first two axes: [A, B, ...] -> [A * B, ...]; the other sizes must be static."""
    return tf.reshape(rows, [-1, *rows.shape[2:]])


def check_shapes(function: str, /, **arguments: tuple[Any, str]) -> None:
    """Raise ValueError unless the arguments of a function have the given shapes.

        check_shapes("gae", rewards=(rewards, "T B"), values=(values, "T+1 B"))

    A shape is written as its dimensions, separated by spaces. A dimension is a number, a symbol that means the same
    size in all arguments of one call, or a symbol plus a number. One dimension may be "...", for any further
    dimensions, or a symbol with dots such as "S...", for the same further dimensions in all arguments. The shape of a
    scalar is "".

    Only static shapes are compared, so the check adds no operation to a graph. Dimensions and ranks that are unknown
    while a function is traced are accepted.

    Args:
      function: name of the function, for the message.
      **arguments: for each argument, its value (tensor, variable, array or number) and its required shape.

    Raises:
      ValueError: a static shape is wrong; the message names the first such argument and both shapes.

    Source:
      The style of rlax, whose functions begin with chex.assert_rank.
    """
    sizes: dict[str, int] = {}
    for argument, (value, dimensions) in arguments.items():
        shape = _static_shape(value)
        known = dict(sizes)
        if shape is not None and not _agree(shape, dimensions.split(), sizes):
            expected = f"[{', '.join(dimensions.split())}]{_with_sizes(known)}"
            given = ", ".join("?" if size is None else str(size) for size in shape)
            raise ValueError(f"{function}: {argument} must have the shape {expected}, got [{given}]")


def _static_shape(value: Any) -> tuple[int | None, ...] | None:
    """Return the shape, with None for unknown sizes; None if the rank is unknown."""
    shape = value.shape if hasattr(value, "shape") else np.shape(value)
    return None if getattr(shape, "rank", 0) is None else tuple(shape)


def _agree(shape: Sequence[int | None], dimensions: list[str], sizes: dict[str, int]) -> bool:
    """Return whether a shape agrees with the dimensions; the sizes of new symbols are added to `sizes`."""
    further = max(len(shape) - len(dimensions) + 1, 0)
    for place, dimension in enumerate(dimensions):
        if dimension.endswith("..."):
            symbol = dimension.removesuffix("...")
            if symbol and sizes.setdefault(f"rank of {symbol}", further) != further:
                return False
            dimensions = dimensions.copy()
            dimensions[place : place + 1] = [f"{symbol}{i}" if symbol else "" for i in range(further)]
            break
    return len(shape) == len(dimensions) and all(
        size is None or not dimension or _same_size(size, dimension, sizes)
        for size, dimension in zip(shape, dimensions, strict=True)
    )


def _same_size(size: int, dimension: str, sizes: dict[str, int]) -> bool:
    symbol, _, summand = dimension.partition("+")
    size -= int(summand or 0)
    return size >= 0 and size == (int(symbol) if symbol.isdigit() else sizes.setdefault(symbol, size))


def _with_sizes(sizes: dict[str, int]) -> str:
    known = ", ".join(f"{symbol} = {size}" for symbol, size in sizes.items())
    return f" with {known}" if known else ""

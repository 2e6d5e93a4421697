"""Convert sampled actions to an environment's actions by NumPy, in processes without TensorFlow."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Acting: TypeAlias = Callable[[np.ndarray], Any]
"""Sampled actions with any leading axes -> the environment's actions, an array or a nest of arrays."""


@dataclasses.dataclass(frozen=True)
class WholeNumbers:
    """Converts choices that are counted from 0 to the environment's integers.

    Args:
      first: the environment's number for choice 0; a number, or an array [d] for actions [..., d].
      dtype: dtype of the environment's actions.
      shape: shape of one action of d numbers; None if an action is a scalar.
    """

    first: Any
    dtype: str
    shape: tuple[int, ...] | None = None

    def __call__(self, actions: np.ndarray) -> np.ndarray:
        if self.shape is None:
            # This is called at every step, and the first action of nearly all spaces is 0.
            shifted = np.asarray(actions, np.int64) + self.first if self.first else np.asarray(actions)
            return shifted.astype(self.dtype)
        numbers = (np.asarray(actions, np.int64) + self.first).astype(self.dtype)
        return numbers.reshape((*actions.shape[:-1], *self.shape))


class PartOfActions(NamedTuple):
    """One part of a joint action: the conversion of the part, and the shape and dtype of its sampled actions."""

    acting: Acting
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclasses.dataclass(frozen=True)
class Parted:
    """Splits joint actions [..., A] into parts, and converts each part.

    Args:
      parts: the parts in order.
      names: keys of the resulting dict; None for a tuple.
    """

    parts: tuple[PartOfActions, ...]
    names: tuple[str, ...] | None

    def __call__(self, actions: np.ndarray) -> Any:
        split = np.split(actions, np.cumsum([math.prod(part.shape) for part in self.parts])[:-1], axis=-1)
        own = [
            part.acting(values.reshape((*actions.shape[:-1], *part.shape)).astype(part.dtype))
            for part, values in zip(self.parts, split, strict=True)
        ]
        return tuple(own) if self.names is None else dict(zip(self.names, own, strict=True))

"""From sampled actions to those that an environment takes, by NumPy alone: for processes without TensorFlow."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Acting: TypeAlias = Callable[[np.ndarray], Any]
"""Sampled actions with any leading axes -> the environment's, an array or a nest of them."""


@dataclasses.dataclass(frozen=True)
class WholeNumbers:
    """Shifts choices that are counted from 0.

    Args:
      first: what 0 stands for, a number, or an array [d] for actions [..., d].
      dtype: of the environment's actions.
      shape: of one action, d numbers.
    """

    first: Any
    dtype: str
    shape: tuple[int, ...] | None = None

    def __call__(self, actions: np.ndarray) -> np.ndarray:
        if self.shape is None:
            # Asked for at every step, and 0 is the first action of nearly all spaces.
            shifted = np.asarray(actions, np.int64) + self.first if self.first else np.asarray(actions)
            return shifted.astype(self.dtype)
        numbers = (np.asarray(actions, np.int64) + self.first).astype(self.dtype)
        return numbers.reshape((*actions.shape[:-1], *self.shape))


class PartOfActions(NamedTuple):
    """One of several actions that are sampled next to each other: its own, of a shape and a type."""

    acting: Acting
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclasses.dataclass(frozen=True)
class Parted:
    """Takes actions [..., A] apart.

    Args:
      parts: in their order.
      names: of the parts, which are a dict then; None for a tuple.
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

"""Actions that consist of choices."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from gymnasium import spaces

MOST_CHOICES = 1000
"""Maximum number of values of each integer of a Box of actions; each needs a logit."""
MASKED_ACTIONS = (
    "only actions that are Discrete, MultiDiscrete, MultiBinary or a Box of integers with at most "
    f"{MOST_CHOICES} values each can be masked"
)


class Choices(NamedTuple):
    """The choices of each component of an action.

    Attributes:
      counts: number of choices, integers [k].
      first: value of the first choice, integers [k].
    """

    counts: np.ndarray
    first: np.ndarray

    def split(self, mask: np.ndarray) -> list[np.ndarray]:
        """Split the mask of an action into the masks of its components."""
        return np.split(mask, np.cumsum(self.counts)[:-1])


def choices(space: spaces.Space) -> Choices | None:
    """Return the choices of the components of an action; None if it has other components, or too many choices."""
    if isinstance(space, spaces.Discrete):
        return Choices(np.array([space.n]), np.array([space.start]))
    if isinstance(space, spaces.MultiDiscrete):
        return Choices(space.nvec.ravel(), space.start.ravel())
    if isinstance(space, spaces.MultiBinary):
        first = np.zeros(spaces.flatdim(space), np.int64)
        return Choices(first + 2, first)
    if isinstance(space, spaces.Box) and np.dtype(space.dtype).kind in "biu":
        # Python's integers do not overflow.
        low, high = (bound.ravel().astype(object) + 0 for bound in (space.low, space.high))
        counts = high - low + 1
        if counts.max(initial=0) <= MOST_CHOICES:
            return Choices(counts.astype(np.int64), low)
    return None

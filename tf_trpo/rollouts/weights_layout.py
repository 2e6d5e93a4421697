"""How the policy's weights are sent to workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class WeightsLayout(NamedTuple):
    """Layout of weights in the flat array of bytes in which they are sent."""

    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]

    @classmethod
    def of(cls, weights: Sequence[np.ndarray]) -> WeightsLayout:
        """Return the layout of weights."""
        return cls(tuple(weight.shape for weight in weights), tuple(weight.dtype.str for weight in weights))

    def packed(self, weights: Sequence[np.ndarray]) -> np.ndarray:
        """Pack weights into one array, uint8 [number of bytes]."""
        return np.concatenate([np.ascontiguousarray(weight).reshape(-1).view(np.uint8) for weight in weights])

    def unpacked(self, packed: np.ndarray) -> list[np.ndarray]:
        """Return the weights in a packed array."""
        sizes = [int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in zip(*self, strict=True)]
        parts = np.split(packed, np.cumsum(sizes)[:-1])
        # Copies, because a part of the packed bytes may be misaligned for its dtype.
        return [part.copy().view(self.dtypes[i]).reshape(self.shapes[i]) for i, part in enumerate(parts)]

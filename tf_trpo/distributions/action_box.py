"""Bounds of continuous actions, and the coordinates in which distributions describe them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_trpo.lazy import tensorflow as tf

if TYPE_CHECKING:
    from tf_trpo.numerics import Reflection


def has_bounds(low: NDArray[Any], high: NDArray[Any], dtype: Any) -> NDArray[np.bool_]:
    """Return for each dimension of an action whether it has two bounds; the largest number of the dtype is none."""
    largest = np.finfo(dtype).max
    return np.asarray((low > -largest) & (high < largest))


class ActionBox:
    """Bounds of d action dimensions, and coordinates in which each dimension with two bounds is [-1, 1].

    In these coordinates, learning does not depend on the units of an action. A dimension without two bounds keeps the
    environment's units. A bound equal to the largest number of its dtype counts as infinite, because some environments
    write infinity so.

    Args:
      low: lower bounds, an array of the shape of one action; -inf for none.
      high: upper bounds.
      dtype: dtype of the environment's actions: float16, float32 or float64. The bounds are rounded to it.

    Attributes:
      low, high: float64 [d], in the environment's units.
      low_coordinate, high_coordinate: float64 [d], in the coordinates of the distribution.
      bounded: bool [d], whether a dimension has two bounds.

    Raises:
      ValueError: the dtype is another one, or the bounds do not make a box.
    """

    def __init__(self, low: ArrayLike, high: ArrayLike, dtype: Any = "float32") -> None:
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.float16, np.float32, np.float64):
            raise ValueError(f"continuous actions must be float16, float32 or float64, not {self.dtype}")
        with np.errstate(over="ignore"):
            bounds = [np.asarray(bound, np.float64).astype(self.dtype).astype(np.float64) for bound in (low, high)]
        self.shape = bounds[0].shape
        if bounds[1].shape != self.shape or not bounds[0].size or not np.all(bounds[0] <= bounds[1]):
            raise ValueError(
                f"lower bounds of shape {self.shape} and upper bounds of shape {bounds[1].shape} do not make a box: "
                "every number needs both, and no lower bound may be above its upper bound"
            )
        self.low, self.high = bounds[0].ravel(), bounds[1].ravel()
        largest = float(np.finfo(self.dtype).max)
        self.bounded = has_bounds(self.low, self.high, self.dtype)
        self.low_coordinate = np.where(self.bounded, -1.0, np.where(self.low > -largest, self.low, -np.inf))
        self.high_coordinate = np.where(self.bounded, 1.0, np.where(self.high < largest, self.high, np.inf))
        self._limits = np.maximum(self.low, -largest), np.minimum(self.high, largest)
        self._affine = self._center_and_half_range(np.dtype(np.float64))
        # Whether coordinates are equal to the environment's units, and actions are float32 vectors.
        is_same = bool(np.all(self._affine[0] == 0.0) and np.all(self._affine[1] == 1.0))
        self._is_own = is_same and self.dtype == np.float32 and len(self.shape) == 1
        self._own_limits = [limit.astype(self.dtype) for limit in self._limits]

    def environment_actions(self, coordinates: NDArray[Any]) -> NDArray[Any]:
        """Convert coordinates [..., d] to the environment's actions [..., *shape], exactly inside the box."""
        if self._is_own:
            # A fast path, since this is called at every step.
            return coordinates.clip(*self._own_limits)
        center, half_range = self._affine
        with np.errstate(over="ignore"):
            actions = center + half_range * coordinates
        inside = np.minimum(np.maximum(actions, self._limits[0]), self._limits[1]).astype(self.dtype)
        return inside.reshape((*coordinates.shape[:-1], *self.shape))

    def to_environment(self, coordinates: tf.Tensor) -> tf.Tensor:
        """Convert coordinates [N, d] as tensors; computes in float32 unless the environment's actions are float64."""
        dtype = np.promote_types(self.dtype, np.float32)
        center, half_range = self._center_and_half_range(dtype)
        actions = center + half_range * tf.cast(coordinates, dtype)
        low, high = (limit.astype(dtype) for limit in self._limits)
        inside = tf.cast(tf.minimum(tf.maximum(actions, low), high), self.dtype)
        return inside if len(self.shape) == 1 else tf.reshape(inside, [-1, *self.shape])

    def from_environment(self, actions: ArrayLike) -> NDArray[np.float32]:
        """Convert the environment's actions [L, *shape] to coordinates, float32 [L, d].

        In a dimension with two bounds, the bounds become exactly -1 and 1, also if the actions were rounded to float32.
        If the two bounds are equal, their coordinate is 0.
        """
        center, half_range = self._affine
        given = np.asarray(actions)
        rows = given.reshape(len(given), -1).astype(np.float64)
        centred = rows - center
        coordinates = np.divide(centred, half_range, out=np.zeros_like(centred), where=half_range > 0)
        precision = given.dtype if np.issubdtype(given.dtype, np.floating) else np.dtype(np.float64)
        for bound, coordinate in ((self.low, -1.0), (self.high, 1.0)):
            with np.errstate(over="ignore"):
                is_at = self.bounded & (half_range > 0) & (rows == bound.astype(precision))
            coordinates[is_at] = coordinate
        return coordinates.astype(np.float32)

    def clipped(self, coordinates: tf.Tensor) -> tf.Tensor:
        """Clip coordinates [N, d] to the box."""
        low, high = self.coordinate_bounds(coordinates.dtype)
        return tf.minimum(tf.maximum(coordinates, low), high)

    def coordinate_bounds(self, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the lower and upper bounds of coordinates, rounded to float32 as all coordinates are, [d] each."""
        low, high = (bound.astype(np.float32) for bound in (self.low_coordinate, self.high_coordinate))
        return tf.constant(low, dtype), tf.constant(high, dtype)

    def check_mirror(self, actions: Reflection) -> None:
        """Raise ValueError if a reflection of the actions, in the environment's units, does not preserve the box."""
        if len(actions.signs) != len(self.low):
            raise ValueError(f"the mirror is one of {len(actions.signs)} actions, not of {len(self.low)}")
        bounds = list(zip(self.low.tolist(), self.high.tolist(), strict=True))
        for position, (source, sign) in enumerate(zip(actions.sources, actions.signs, strict=True)):
            low, high = bounds[source]
            image = (low, high) if sign > 0 else (-high, -low)
            if not all(math.isclose(a, b) for a, b in zip(bounds[position], image, strict=True)):
                raise ValueError(
                    f"the bounds of action {position} are not the mirror image of the bounds of action {source}"
                )

    def _center_and_half_range(self, dtype: np.dtype[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Compute the center and the half-range [d] of each dimension.

        The half-range is rounded up such that -1 and 1 reach the bounds; actions beyond are clipped. The center is the
        sum of two halves, since the sum of the bounds could overflow.
        """
        low, high = (
            np.where(self.bounded, bound, sign).astype(dtype) for bound, sign in ((self.low, -1.0), (self.high, 1.0))
        )
        center = (0.5 * low.astype(np.float64) + 0.5 * high.astype(np.float64)).astype(dtype)
        half_range = np.maximum(high - center, center - low)
        while np.any(short := (center + half_range < high) | (center - half_range > low)):
            half_range = np.where(short, np.nextafter(half_range, np.asarray(np.inf, dtype)), half_range)
        return center, half_range

"""Preparation of observations and weights as inputs of a policy's function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.spaces import PartSpec, flatten_to, map_parts, nest_of, parts

if TYPE_CHECKING:
    from tf_trpo.models import Policy


class Centred:
    """Turns observations into the inputs of the policy's function: a list of the parts, vectors minus their means.

    The means are subtracted here because LiteRT has no float64 arithmetic. The function itself rounds to float32, where
    no warning is given: numbers too large for float32 become infinite, and the rollout is then refused with a reason.
    """

    def __init__(self, policy: Policy) -> None:
        encoder = policy.encoder
        # A copy without Keras' tracked dicts, which cannot be pickled.
        self._spec = map_parts(lambda part: part, encoder.spec)
        self._parts = [part for _, part in parts(self._spec)]
        positions = {id(weight): position for position, weight in enumerate(policy.weights)}
        layers = encoder.normalization_by_part
        self._positions = [None if layer is None else positions[id(layer.mean)] for layer in layers]
        self._dtypes = [
            np.dtype("float64" if layer is not None else "float32" if _is_rounded_here(part) else part.dtype)
            for part, layer in zip(self._parts, layers, strict=True)
        ]
        self.set_weights([weight.numpy() for weight in policy.weights])

    def __len__(self) -> int:
        """Return the number of parts."""
        return len(self._parts)

    @property
    def specs(self) -> list[tf.TensorSpec]:
        """Specs of the inputs, with shapes [None, ...]."""
        pairs = zip(self._parts, self._dtypes, strict=True)
        return [tf.TensorSpec((None, *part.shape), tf.as_dtype(dtype)) for part, dtype in pairs]

    def nest(self, inputs: Sequence[tf.Tensor]) -> Any:
        """Arrange the inputs as a nest like the observations, with vectors cast to float32."""
        values = [
            tf.cast(value, tf.float32) if part.kind == "vector" else value
            for part, value in zip(self._parts, inputs, strict=True)
        ]
        return nest_of(self._spec, values)

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        self._means = [None if position is None else np.array(weights[position]) for position in self._positions]

    def __call__(self, observations: Any) -> list[np.ndarray]:
        return list(map(_centred, flatten_to(self._spec, observations), self._means, self._dtypes))


def transposed(weight: np.ndarray) -> np.ndarray:
    """Transpose a matrix for LiteRT's fully connected layer, which would otherwise transpose it at every call."""
    return np.ascontiguousarray(weight.T) if weight.ndim == 2 else weight


def _centred(part: np.ndarray, mean: np.ndarray | None, dtype: np.dtype[Any]) -> np.ndarray:
    return part.astype(dtype, copy=False) if mean is None else np.subtract(part, mean, dtype=dtype)


def _is_rounded_here(part: PartSpec) -> bool:
    """Return whether a vector without a mean is cast here: casting float64 could warn of numbers that are too large."""
    return part.kind == "vector" and part.dtype != "float64"

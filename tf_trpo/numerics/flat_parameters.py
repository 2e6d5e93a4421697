"""Parameters as one flat vector, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tf_trpo.lazy import tensorflow as tf


def flatten(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Concatenate tensors into one vector.

    Args:
      tensors: float tensors of one dtype and of any static shape; at least one.

    Returns:
      Vector [P], P the total number of elements, in row-major order, tensor after tensor.

    Raises:
      ValueError: there is no tensor.
    """
    if not tensors:
        raise ValueError("flatten needs at least one tensor: has the model been built?")
    return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], axis=0)


def unflatten(vector: tf.Tensor, like: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Cut a vector into tensors: the inverse of `flatten`.

    Args:
      vector: float vector [P].
      like: tensors (or variables) whose static shapes the result takes, P elements in all.

    Returns:
      Tensors with the shapes of `like`.

    Raises:
      ValueError: the vector's length is not the number of elements in `like`.
    """
    shapes = [tuple(tensor.shape) for tensor in like]
    sizes = [math.prod(shape) for shape in shapes]
    if vector.shape[0] is not None and vector.shape[0] != sum(sizes):
        raise ValueError(
            f"a vector of {vector.shape[0]} elements does not fill shapes {shapes} ({sum(sizes)} elements)"
        )
    return [tf.reshape(part, shape) for part, shape in zip(tf.split(vector, sizes), shapes, strict=True)]

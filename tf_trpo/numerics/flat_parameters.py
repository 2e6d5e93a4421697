"""Convert parameters to one flat vector and back."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics.shapes import check_shapes


def flatten(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Concatenate tensors into one vector.

    Args:
      tensors: float tensors (or variables) of one dtype and of any static shapes; at least one.

    Returns:
      float [P]: the elements of all tensors, in row-major order, tensor after tensor.

    Raises:
      ValueError: there is no tensor.
    """
    if not tensors:
        raise ValueError("flatten needs at least one tensor: has the model been built, or are all its weights frozen?")
    return tf.concat([tensor if len(tensor.shape) == 1 else tf.reshape(tensor, [-1]) for tensor in tensors], axis=0)


def unflatten(vector: tf.Tensor, like: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Split a vector into tensors; the inverse of `flatten`.

    Args:
      vector: float [P].
      like: tensors (or variables) with the static shapes of the result; P elements in total.

    Returns:
      Tensors with the shapes of `like`.

    Raises:
      ValueError: the vector has another rank, or another length than `like` has elements.
    """
    shapes = [tuple(tensor.shape) for tensor in like]
    sizes = [math.prod(shape) for shape in shapes]
    check_shapes("unflatten", vector=(vector, str(sum(sizes))))
    parts = zip(tf.split(vector, sizes), shapes, strict=True)
    return [part if len(shape) == 1 else tf.reshape(part, shape) for part, shape in parts]

"""Multiply vectors by the inverse of the damped Fisher matrix of a few samples.

The Fisher matrix of N samples is J'J, with C rows of J for each sample. Its damped inverse requires only an
N C x N C matrix (Woodbury):

    (J'J + d I)^-1 r = (r - J' (J J' + d I)^-1 J r) / d.

For a weight matrix W with y = x W, a row of J is the outer product of x and a gradient with respect to y. So J is never
formed: the elements of J J' are inner products of the inputs times inner products of the gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics.flat_parameters import flatten, unflatten
from tf_trpo.numerics.scalars import scalar
from tf_trpo.numerics.shapes import check_shapes

_BLOCK = 64


class OuterProducts(NamedTuple):
    """The part of J for a matrix [I, O] of parameters that is used K times per sample.

    Row c of sample n is the sum over k of the outer products of inputs[k, n] and gradients[k, c, n].

    Attributes:
      inputs: float [K, N, I]; for a bias [O], ones [K, N, 1].
      gradients: float [K, C, N, O].
    """

    inputs: tf.Tensor
    gradients: tf.Tensor

    def gram(self) -> tf.Tensor:
        """Compute J J' [C N, C N]."""
        uses, columns, samples, size = self.gradients.shape
        inputs, gradients = tf.reshape(self.inputs, [uses * samples, -1]), tf.reshape(self.gradients, [-1, size])
        of_inputs = tf.reshape(tf.matmul(inputs, inputs, transpose_b=True), [uses, 1, samples] * 2)
        of_gradients = tf.matmul(gradients, gradients, transpose_b=True)
        products = of_inputs * tf.reshape(of_gradients, [uses, columns, samples] * 2)
        return tf.reshape(tf.reduce_sum(products, [0, 3]), [columns * samples] * 2)

    def times(self, matrix: tf.Tensor) -> tf.Tensor:
        """Compute J v [C N] for a matrix v [I, O], or a bias [O]."""
        images = tf.matmul(self.inputs, tf.reshape(matrix, [self.inputs.shape[2], -1]))[:, None]
        return tf.reshape(tf.reduce_sum(images * self.gradients, [0, 3]), [-1])

    def transposed_times(self, rows: tf.Tensor) -> tf.Tensor:
        """Compute J'u [I, O] for a vector u [C N]."""
        uses, columns, samples, size = self.gradients.shape
        weighted = tf.reduce_sum(self.gradients * tf.reshape(rows, [columns, samples, 1]), axis=1)
        inputs = tf.reshape(self.inputs, [uses * samples, -1])
        return tf.matmul(inputs, tf.reshape(weighted, [-1, size]), transpose_a=True)


def sampled_fisher_inverse(
    like: Sequence[tf.Tensor],
    factors: Sequence[OuterProducts | tf.Tensor],
    damping: float | tf.Tensor,
    least_damping_share: float = 0.0,
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Make the product r [P] -> (F + damping I)^-1 r.

    F is J'J; for tensors without a part of J, F is a multiple of I. If the damping is small, the product is a small
    difference of large vectors: with an eigenvalue of J'J that is 20,000 times the damping, the product in float32 is
    no longer positive definite.

    Args:
      like: tensors (or variables) with static shapes that make up the P parameters, in the order of `flatten`.
      factors: for each of these tensors, either its part of J, with the same C and N, or a curvature, a scalar >= 0.
      damping: number added to the diagonal, > 0; a number or a float scalar.
      least_damping_share: the damping is raised to this share of the Frobenius norm of J'J, which is at least the
        largest eigenvalue.

    Returns:
      The product: linear, symmetric and, up to rounding, positive definite.

    Raises:
      ValueError: a shape is wrong, or the damping is not positive; also from the returned function.

    Source:
      Ren and Goldfarb (2019), "Efficient Subsampled Gauss-Newton and Natural Gradient Methods for Training Neural
      Networks".
    """
    if not tf.is_tensor(damping) and not damping > 0:
        raise ValueError(f"damping must be positive, got {damping}")
    seen = [factor for factor in factors if isinstance(factor, OuterProducts)]
    for inputs, gradients in seen:
        check_shapes(
            "sampled_fisher_inverse",
            first=(seen[0].gradients, "L C N P"),
            inputs=(inputs, "K N I"),
            gradients=(gradients, "K C N O"),
        )
    if seen:
        gram = tf.add_n([factor.gram() for factor in seen])
        damping = tf.maximum(scalar(damping, gram.dtype), least_damping_share * _frobenius_norm(gram))
        inverse = positive_definite_inverse(gram + damping * tf.eye(gram.shape[0], dtype=gram.dtype))

    def product(vector: tf.Tensor) -> tf.Tensor:
        added = scalar(damping, vector.dtype)
        pairs = list(zip(unflatten(vector, like), factors, strict=True))
        images = [factor.times(part) for part, factor in pairs if isinstance(factor, OuterProducts)]
        rows = tf.linalg.matvec(inverse, tf.add_n(images)) if seen else None
        return flatten(
            [
                (part - tf.reshape(factor.transposed_times(rows), part.shape)) / added
                if isinstance(factor, OuterProducts)
                else part / (factor + added)
                for part, factor in pairs
            ]
        )

    return product


def _frobenius_norm(gram: tf.Tensor) -> tf.Tensor:
    """Compute the Frobenius norm of J J', which is also that of J'J, without an overflow of the squares."""
    largest = tf.reduce_max(tf.linalg.diag_part(gram))
    return largest * tf.norm(tf.math.divide_no_nan(gram, largest))


def positive_definite_inverse(matrix: tf.Tensor) -> tf.Tensor:
    """Invert a symmetric positive definite matrix by blockwise Gauss-Jordan elimination.

    On a CPU, XLA's Cholesky factorisation takes ten times as long. No pivoting is needed, because every pivot of a
    positive definite matrix is positive.

    Args:
      matrix: float [M, M], of static shape.

    Returns:
      float [M, M].
    """
    check_shapes("positive_definite_inverse", matrix=(matrix, "M M"))
    size = matrix.shape[0]
    block = min(_BLOCK, size)
    added = -size % block
    ones = tf.concat([tf.zeros([size], matrix.dtype), tf.ones([added], matrix.dtype)], axis=0)
    padded = tf.pad(matrix, [[0, added], [0, added]]) + tf.linalg.diag(ones)
    return _eliminated(padded, block, lambda pivot: _eliminated(pivot, 1, tf.math.reciprocal))[:size, :size]


def _eliminated(matrix: tf.Tensor, block: int, inverted: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Invert a matrix [M, M], where M is a multiple of the block size, by a function that inverts a block."""
    size = matrix.shape[0]

    def step(start: tf.Tensor, matrix: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        unit = tf.one_hot(start + tf.range(block), size, dtype=matrix.dtype)
        # Elements that are replaced are set to 0 first, since a small difference of large numbers would lose precision.
        others = 1.0 - tf.reduce_sum(unit, axis=0)
        row = tf.slice(matrix, [start, 0], [block, size])
        column = tf.slice(matrix, [0, start], [size, block]) * others[:, None] - tf.transpose(unit)
        pivot = inverted(tf.slice(row, [0, start], [block, block]))
        return start + block, matrix * others * others[:, None] - column @ (pivot @ (row * others + unit))

    return tf.while_loop(lambda start, _: start < size, step, [tf.constant(0), matrix])[1]

"""A recurrence over many rows whose derivatives, both ways, are loops of the same length.

TensorFlow differentiates a loop by keeping every intermediate result of every row, and differentiates the loop of that
derivative in the same way again: J v by two reverse passes then copies dozens of such stacks at each row. Here only the
states between rows are kept, a row is computed again where its derivative is needed, and J v is one loop.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics.shapes import check_shapes

Tensors: TypeAlias = "tuple[tf.Tensor, ...]"
Row: TypeAlias = "Callable[[Tensors, tf.Tensor, Tensors, Tensors], tuple[tf.Tensor, Tensors]]"
"""(weights, inputs [B, F], states [B, ...], marks [B]) -> (outputs [B, U], new states [B, ...])."""

_plain: contextvars.ContextVar[bool] = contextvars.ContextVar("plain", default=False)


@contextlib.contextmanager
def differentiable_twice() -> Iterator[None]:
    """Let recurrences that are traced within be loops of TensorFlow's own: slower, with second derivatives."""
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def recurrence(
    row: Row, weights: Tensors, inputs: tf.Tensor, states: Tensors, marks: Tensors, num_outputs: int
) -> tuple[tf.Tensor, Tensors]:
    """Apply a function to one row after another, each with the states that the one before left.

    The outputs are differentiable in the weights, inputs and states; so is that derivative, but only in the cotangents
    of the outputs, which is what J v needs. Another second derivative is NaN; see `differentiable_twice`.

    Args:
      row: differentiable in weights, inputs and states.
      weights: what all rows share.
      inputs: float [T, B, F] with a static T.
      states: before the first row, float [B, ...]; a row must not change their shapes.
      marks: what else a row needs, [T, B] each; not differentiated.
      num_outputs: U.

    Returns:
      The outputs [T, B, U], and the states after each row [T, B, ...], which are not differentiated.

    Raises:
      ValueError: a shape is wrong.
    """
    for state, part in itertools.product(states, marks):
        shapes = {"inputs": (inputs, "T B F"), "states": (state, "B ..."), "marks": (part, "T B")}
        check_shapes("recurrence", **shapes)
    if _plain.get():
        return _scanned(row, weights, inputs, states, marks, num_outputs)
    outputs, after = _Recurrence(row, marks, len(weights), num_outputs).outputs(weights, inputs, states)
    return outputs, tuple(map(tf.stop_gradient, after))


def _scanned(
    row: Row, weights: Tensors, inputs: tf.Tensor, states: Tensors, marks: Tensors, num_outputs: int
) -> tuple[tf.Tensor, Tensors]:
    def step(carry: tuple[tf.Tensor, Tensors], given: tuple[tf.Tensor, Tensors]) -> tuple[tf.Tensor, Tensors]:
        return row(weights, given[0], carry[1], given[1])

    nothing = tf.zeros([inputs.shape[1], num_outputs], inputs.dtype)
    outputs, after = tf.scan(step, (inputs, marks), (nothing, states))
    return outputs, after


class _Recurrence:
    """The three loops of a recurrence: its outputs, their derivative transposed, and that derivative itself."""

    def __init__(self, row: Row, marks: Tensors, num_weights: int, num_outputs: int) -> None:
        self._row = row
        self._marks = marks
        self._num_weights = num_weights
        self._num_outputs = num_outputs

    def outputs(self, weights: Tensors, inputs: tf.Tensor, states: Tensors) -> tuple[tf.Tensor, Tensors]:
        """Compute the outputs, and the states after each row."""

        @tf.custom_gradient
        def apply(*given: tf.Tensor) -> tuple[Tensors, Callable[..., Any]]:
            outputs, *after = self._forward(*self._split(given))

            def transposed(cotangent: tf.Tensor, *_: tf.Tensor) -> Tensors:
                before = tuple(
                    tf.concat([first[None], part[:-1]], 0)
                    for first, part in zip(self._split(given)[2], after, strict=True)
                )
                return self._transposed(cotangent, before, given)

            return (outputs, *after), transposed

        outputs, *after = apply(*weights, inputs, *states)
        return outputs, tuple(after)

    def _split(self, given: Tensors) -> tuple[Tensors, tf.Tensor, Tensors]:
        """Split weights, inputs and states, or tangents of them."""
        return given[: self._num_weights], given[self._num_weights], given[self._num_weights + 1 :]

    def _marks_at(self, t: tf.Tensor) -> Tensors:
        return tuple(part[t] for part in self._marks)

    def _row_at(
        self, marks: Tensors, weights: Tensors, inputs: tf.Tensor, states: Tensors
    ) -> tuple[tf.Tensor, Tensors]:
        return self._row(weights, inputs, states, marks)

    def _forward(self, weights: Tensors, inputs: tf.Tensor, states: Tensors) -> Tensors:
        def step(t: tf.Tensor, states: Tensors) -> tuple[Tensors, Tensors]:
            output, after = self._row(weights, inputs[t], states, self._marks_at(t))
            return after, (output, *after)

        output = tf.TensorSpec((inputs.shape[1], self._num_outputs), inputs.dtype)
        return _loop(step, states, inputs.shape[0], (output, *states))[1]

    def _transposed(self, cotangent: tf.Tensor, before: Tensors, given: Tensors) -> Tensors:
        """Compute J'u for a cotangent u [T, B, U] of the outputs: of weights, inputs and states."""

        @tf.custom_gradient
        def apply(cotangent: tf.Tensor, *given: tf.Tensor) -> tuple[Tensors, Callable[..., Tensors]]:
            def of_cotangent(*tangents: tf.Tensor) -> Tensors:
                # J'u is linear in u, and its derivative, transposed, is J.
                image = self._image(tangents, before, given)
                return image, *(tf.fill(tf.shape(part), tf.constant(math.nan, part.dtype)) for part in given)

            return self._backward(cotangent, before, given), of_cotangent

        result: Tensors = apply(cotangent, *given)
        return result

    def _backward(self, cotangent: tf.Tensor, before: Tensors, given: Tensors) -> Tensors:
        weights, inputs, states = self._split(given)
        length = inputs.shape[0]

        def step(i: tf.Tensor, carry: tuple[Tensors, Tensors]) -> tuple[tuple[Tensors, Tensors], Tensors]:
            t, (sums, of_states) = length - 1 - i, carry
            row, now = inputs[t], tuple(part[t] for part in before)
            with tf.GradientTape() as tape:
                tape.watch((weights, row, now))
                output, after = self._row(weights, row, now, self._marks_at(t))
            of_weights, of_row, of_now = tape.gradient(
                (output, after),
                (weights, row, now),
                output_gradients=(cotangent[t], of_states),
                unconnected_gradients="zero",
            )
            return (tuple(a + b for a, b in zip(sums, of_weights, strict=True)), of_now), (of_row,)

        nothing = tuple(map(tf.zeros_like, weights)), tuple(map(tf.zeros_like, states))
        (of_weights, of_states), (of_inputs,) = _loop(step, nothing, length, (inputs[0],))
        return *of_weights, tf.reverse(of_inputs, [0]), *of_states

    def _image(self, tangents: Tensors, before: Tensors, given: Tensors) -> tf.Tensor:
        """Compute J v [T, B, U] for tangents v of weights, inputs and states."""
        weights, inputs, _ = self._split(given)
        of_weights, of_inputs, of_states = self._split(tangents)

        def step(t: tf.Tensor, of_now: Tensors) -> tuple[Tensors, Tensors]:
            point = weights, inputs[t], tuple(part[t] for part in before)
            marks = self._marks_at(t)
            row = functools.partial(self._row_at, marks)
            of_output, of_after = _image_of_row(row, point, (of_weights, of_inputs[t], of_now))
            return of_after, (of_output,)

        output = tf.TensorSpec((inputs.shape[1], self._num_outputs), inputs.dtype)
        return _loop(step, of_states, inputs.shape[0], (output,))[1][0]


def _image_of_row(function: Callable[..., Any], point: Any, tangents: Any) -> Any:
    """Compute J v of a function of nests at a point, for tangents v, by two reverse passes."""
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            inner.watch(point)
            results = function(*point)
        cotangents = tf.nest.map_structure(tf.zeros_like, results)
        outer.watch(cotangents)
        pulled = inner.gradient(results, point, output_gradients=cotangents, unconnected_gradients="zero")
    return outer.gradient(pulled, cotangents, output_gradients=tangents, unconnected_gradients="zero")


def _loop(
    step: Callable[[tf.Tensor, Any], tuple[Any, Tensors]], carry: Any, length: int, like: Tensors
) -> tuple[Any, Tensors]:
    """Iterate (t, carry) -> (carry, results of the row, shaped like the given), and stack the results of all rows."""
    arrays = tuple(tf.TensorArray(part.dtype, length, element_shape=part.shape) for part in like)

    def body(t: tf.Tensor, carry: Any, arrays: Any) -> tuple[tf.Tensor, Any, Any]:
        carry, results = step(t, carry)
        return t + 1, carry, tuple(array.write(t, part) for array, part in zip(arrays, results, strict=True))

    start = tf.constant(0), carry, arrays
    _, carry, arrays = tf.while_loop(lambda t, *_: t < length, body, start, maximum_iterations=length)
    return carry, tuple(array.stack() for array in arrays)

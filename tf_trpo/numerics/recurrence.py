"""A recurrence over many rows for which both J'u and J v are loops of the same length.

TensorFlow differentiates a loop by storing every intermediate result of every row, and differentiates the loop of that
derivative in the same way: J v by two reverse passes then copies dozens of such stacks at each row. Here, only the
states between rows are stored, a row is recomputed where its derivative is needed, and J v is a single loop.
"""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics.shapes import check_shapes

Tensors: TypeAlias = "tuple[tf.Tensor, ...]"
Row: TypeAlias = "Callable[[Tensors, tf.Tensor, Tensors, Tensors], tuple[tf.Tensor, Tensors]]"
"""(weights, inputs [B, F], states [B, ...], marks [B]) -> (outputs [B, U], new states [B, ...])."""

Point: TypeAlias = "tuple[Tensors, tf.Tensor, Tensors]"
"""Weights, inputs [T, B, F] and initial states, or tangents of these."""

_plain: contextvars.ContextVar[bool] = contextvars.ContextVar("plain", default=False)


@contextlib.contextmanager
def differentiable_twice() -> Iterator[None]:
    """Trace recurrences inside the context as TensorFlow's own loops: slower, but twice differentiable."""
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


class Recurrence:
    """Applies a function to one row after another, passing states from row to row.

    The outputs are differentiable in the weights, inputs and states. This derivative J'u is differentiable in u, the
    cotangents of the outputs, as J v requires. Other second derivatives are NaN; see `differentiable_twice`.

    Each loop is traced once for all its uses with the same shapes.

    Args:
      row: the function of one row, differentiable in weights, inputs and states; it must not change the shapes of the
        states.
      num_outputs: number of a row's outputs U.
    """

    def __init__(self, row: Row, num_outputs: int) -> None:
        self._row = row
        self._num_outputs = num_outputs
        self._forward, self._backward, self._image = (
            tf.function(loop, autograph=False) for loop in (self._forward_loop, self._backward_loop, self._image_loop)
        )

    def __call__(
        self, weights: Tensors, inputs: tf.Tensor, states: Tensors, marks: Tensors
    ) -> tuple[tf.Tensor, Tensors]:
        """Apply the function to T rows.

        Args:
          weights: tensors that are the same for all rows.
          inputs: float [T, B, F] with static T and B.
          states: states before the first row, float [B, ...] each.
          marks: further inputs of the rows, [T, B] each; not differentiated.

        Returns:
          The outputs [T, B, U], and the states after each row [T, B, ...], which are not differentiated.

        Raises:
          ValueError: a shape is wrong.
        """
        for state, part in itertools.product(states, marks):
            shapes = {"inputs": (inputs, "T B F"), "states": (state, "B ..."), "marks": (part, "T B")}
            check_shapes("Recurrence", **shapes)
        if _plain.get():
            return self._scanned(weights, inputs, states, marks)
        outputs, after = self._outputs((tuple(weights), inputs, tuple(states)), marks)
        return outputs, tuple(map(tf.stop_gradient, after))

    def _scanned(self, weights: Tensors, inputs: tf.Tensor, states: Tensors, marks: Tensors) -> Any:
        def step(carry: tuple[tf.Tensor, Tensors], given: tuple[tf.Tensor, Tensors]) -> tuple[tf.Tensor, Tensors]:
            return self._row(weights, given[0], carry[1], given[1])

        nothing = tf.zeros([inputs.shape[1], self._num_outputs], inputs.dtype)
        return tf.scan(step, (inputs, marks), (nothing, states))

    def _outputs(self, point: Point, marks: Tensors) -> tuple[tf.Tensor, Tensors]:
        """Compute the outputs, and the states after each row."""

        @tf.custom_gradient
        def apply(*given: tf.Tensor) -> tuple[Tensors, Callable[..., Any]]:
            here = tf.nest.pack_sequence_as(point, given)
            outputs, *after = self._forward(here, marks)

            def transposed(cotangent: tf.Tensor, *_: tf.Tensor) -> Tensors:
                pairs = zip(here[2], after, strict=True)
                before = tuple(tf.concat([first[None], part[:-1]], 0) for first, part in pairs)
                return self._transposed(cotangent, before, here, marks)

            return (outputs, *after), transposed

        outputs, *after = apply(*tf.nest.flatten(point))
        return outputs, tuple(after)

    def _transposed(self, cotangent: tf.Tensor, before: Tensors, point: Point, marks: Tensors) -> Tensors:
        """Compute J'u, the cotangents of weights, inputs and states, for a cotangent u [T, B, U] of the outputs."""

        @tf.custom_gradient
        def apply(cotangent: tf.Tensor, *given: tf.Tensor) -> tuple[Tensors, Callable[..., Tensors]]:
            here = tf.nest.pack_sequence_as(point, given)

            def of_cotangent(*tangents: tf.Tensor) -> Tensors:
                # J'u is linear in u, and the transpose of its derivative is J.
                image = self._image(tf.nest.pack_sequence_as(point, tangents), before, here, marks)
                return image, *(tf.fill(tf.shape(part), tf.constant(math.nan, part.dtype)) for part in given)

            return self._backward(cotangent, before, here, marks), of_cotangent

        result: Tensors = apply(cotangent, *tf.nest.flatten(point))
        return result

    def _forward_loop(self, point: Point, marks: Tensors) -> Tensors:
        weights, inputs, states = point

        def step(t: tf.Tensor, states: Tensors) -> tuple[Tensors, Tensors]:
            output, after = self._row(weights, inputs[t], states, _at(marks, t))
            return after, (output, *after)

        return _loop(step, states, inputs.shape[0], (self._output(inputs), *states))[1]

    def _backward_loop(self, cotangent: tf.Tensor, before: Tensors, point: Point, marks: Tensors) -> Tensors:
        """Compute J'u in a loop from the last row to the first."""
        weights, inputs, states = point
        length = inputs.shape[0]

        def step(i: tf.Tensor, carry: tuple[Tensors, Tensors]) -> tuple[tuple[Tensors, Tensors], Tensors]:
            t, (sums, of_states) = length - 1 - i, carry
            here = weights, inputs[t], _at(before, t)
            with tf.GradientTape() as tape:
                tape.watch(here)
                results = self._row(*here, _at(marks, t))
            of_weights, of_row, of_now = tape.gradient(
                results, here, output_gradients=(cotangent[t], of_states), unconnected_gradients="zero"
            )
            return (tuple(a + b for a, b in zip(sums, of_weights, strict=True)), of_now), (of_row,)

        nothing = tuple(map(tf.zeros_like, weights)), tuple(map(tf.zeros_like, states))
        (of_weights, of_states), (of_inputs,) = _loop(step, nothing, length, (inputs[0],))
        return *of_weights, tf.reverse(of_inputs, [0]), *of_states

    def _image_loop(self, tangents: Point, before: Tensors, point: Point, marks: Tensors) -> tf.Tensor:
        """Compute J v [T, B, U] for tangents v of weights, inputs and states."""
        (weights, inputs, _), (of_weights, of_inputs, of_states) = point, tangents

        def step(t: tf.Tensor, of_now: Tensors) -> tuple[Tensors, Tensors]:
            here, along = (weights, inputs[t], _at(before, t)), (of_weights, of_inputs[t], of_now)
            of_output, of_after = _image_of_row(
                lambda weights, row, states: self._row(weights, row, states, _at(marks, t)), here, along
            )
            return of_after, (of_output,)

        return _loop(step, of_states, inputs.shape[0], (self._output(inputs),))[1][0]

    def _output(self, inputs: tf.Tensor) -> tf.TensorSpec:
        return tf.TensorSpec((inputs.shape[1], self._num_outputs), inputs.dtype)


def _at(arrays: Tensors, t: tf.Tensor) -> Tensors:
    return tuple(part[t] for part in arrays)


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
    """Iterate step(t, carry) -> (carry, results) for t < length, and stack the results, which are shaped as `like`."""
    arrays = tuple(tf.TensorArray(part.dtype, length, element_shape=part.shape) for part in like)

    def body(t: tf.Tensor, carry: Any, arrays: Any) -> tuple[tf.Tensor, Any, Any]:
        carry, results = step(t, carry)
        return t + 1, carry, tuple(array.write(t, part) for array, part in zip(arrays, results, strict=True))

    start = tf.constant(0), carry, arrays
    _, carry, arrays = tf.while_loop(lambda t, *_: t < length, body, start, maximum_iterations=length)
    return carry, tuple(array.stack() for array in arrays)

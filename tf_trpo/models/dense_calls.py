"""Record the calls of a model's Dense layers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from tf_trpo.models.structure import layers_of


class DenseCalls:
    """The recorded calls of one Dense layer.

    Attributes:
      layer: the layer.
      inputs: the inputs of each call.
      sums: inputs times kernel plus bias, before the activation, of each call.
    """

    def __init__(self, layer: keras.layers.Dense) -> None:
        self.layer = layer
        self.inputs: list[tf.Tensor] = []
        self.sums: list[tf.Tensor] = []

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Record calls until the context ends."""
        layer, call, activation = self.layer, self.layer.call, self.layer.activation

        def noted_call(inputs: tf.Tensor, *arguments: Any, **options: Any) -> tf.Tensor:
            self.inputs.append(inputs)
            return call(inputs, *arguments, **options)

        def noted_activation(sums: tf.Tensor) -> tf.Tensor:
            self.sums.append(sums)
            return activation(sums)

        layer.call, layer.activation = noted_call, noted_activation
        try:
            yield
        finally:
            del layer.call
            layer.activation = activation


@contextlib.contextmanager
def dense_calls(model: keras.Model) -> Iterator[list[DenseCalls]]:
    """Record all calls of a model's Dense layers, nested ones included, until the context ends.

    Layers of subclasses of Dense are left out, because they may compute something else.
    """
    layers = {id(layer): layer for layer in layers_of(model) if type(layer) is keras.layers.Dense}
    found = [DenseCalls(layer) for layer in layers.values()]
    with contextlib.ExitStack() as stack:
        for calls in found:
            stack.enter_context(calls.noted())
        yield found

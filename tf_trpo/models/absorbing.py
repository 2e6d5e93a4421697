"""The first layer of a network, whose weights can absorb a change of its inputs' statistics."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tf_trpo.spaces import Spec, WrongValueError, flatten_to, parts, without_masks

_AFFINE = (keras.layers.Dense, keras.layers.GRUCell, keras.layers.LSTMCell, keras.layers.SimpleRNNCell)
"""Layers that begin with W x + b: `kernel` is W, and `bias` is b or has b as its first row."""


class AffineRows(NamedTuple):
    """The weights W of a layer for one vector x among its inputs: the layer begins with W x + (the others) + b.

    Attributes:
      layer: a Dense layer or one of Keras' recurrent cells, with a bias; its weights can be trained.
      start: the first row of `layer.kernel` for x.
      stop: the first row behind.
    """

    layer: keras.layers.Layer
    start: int
    stop: int

    def absorb(self, growth: tf.Tensor, shift: tf.Tensor) -> None:
        """Replace W by W' = W growth, and b by b + W' shift; growth and shift are float32 [stop - start]."""
        kernel, bias = self.layer.kernel, self.layer.bias
        own = tf.reshape(growth, [-1, 1]) * kernel.value[self.start : self.stop]
        added = tf.linalg.matvec(own, shift, transpose_a=True)
        # The second row of a GRU cell's biases is for its states.
        bias.assign_add(added if len(bias.shape) == 1 else tf.stack([added, tf.zeros_like(added)]))
        kernel.assign(tf.concat([kernel.value[: self.start], own, kernel.value[self.stop :]], axis=0))


def affine_rows(network: keras.Model, after: keras.layers.Layer | None, spec: Spec) -> list[AffineRows | None]:
    """Find the weights that read each part of an observation, if the part goes into an affine layer as it is.

    On the way there, only Identity, Flatten and Concatenate layers are allowed, and nothing else may read the part. So
    the default network has such weights for all parts other than images.

    Args:
      network: a built model from the inputs of a spec. Only a keras.Sequential and a functional model are searched.
      after: the layer after the network: a memory's cell, the output layer, or None if it is not known.
      spec: spec of an observation.

    Returns:
      The weights for each part except masks, in the order of `parts`; None if there are none.
    """
    graph = network._functional if type(network) is keras.Sequential else network
    count = sum(part.kind != "mask" for _, part in parts(spec))
    if type(graph).__module__ != "keras.src.models.functional":
        return [None] * count
    try:
        inputs = flatten_to(without_masks(spec, spec), graph.input)
    except WrongValueError:
        return [None] * count
    return [_rows_of(each, graph, after) for each in inputs]


def _rows_of(tensor: keras.KerasTensor, graph: Any, after: keras.layers.Layer | None) -> AffineRows | None:
    """Follow an input of a functional model to the first layer that computes something."""
    calls = [call for calls in graph._nodes_by_depth.values() for call in calls]
    start, size, layer = 0, math.prod(getattr(tensor, "shape", ())[1:]), None
    while len(readers := _readers(tensor, calls)) == 1:
        [(call, place)] = readers
        if type(call.operation) is keras.layers.Concatenate and len(tensor.shape) == 2:
            start += sum(other.shape[1] for other in call.input_tensors[:place])
        elif not _passes(call.operation):
            layer = call.operation
            break
        [tensor] = call.output_tensors
    if not readers and tensor is graph.outputs[0]:
        layer = after
    if layer is None or not _is_affine(layer, math.prod(tensor.shape[1:])):
        return None
    # A model inside the network may call the layer, too.
    users = [call for call in calls for weight in getattr(call.operation, "weights", ()) if weight is layer.kernel]
    return AffineRows(layer, start, start + size) if len(users) <= 1 else None


def _readers(tensor: keras.KerasTensor, calls: list[Any]) -> list[tuple[Any, int]]:
    """Return the calls of layers that read a tensor, and the tensor's place among the inputs of each."""
    return [(call, place) for call in calls for place, each in enumerate(call.input_tensors) if each is tensor]


def _passes(layer: keras.layers.Layer) -> bool:
    if type(layer) is keras.layers.Flatten:
        # With the channels first, the layer transposes its inputs.
        return layer.data_format == "channels_last"
    return type(layer) is keras.layers.Identity


def _is_affine(layer: keras.layers.Layer, size: int) -> bool:
    """Return whether a layer computes W x + b for vectors x of a size, and can be trained."""
    # On inputs of a higher rank, a Dense layer uses the same weights for all rows of an observation.
    if type(layer) not in _AFFINE or not layer.use_bias or layer.kernel.shape[0] != size:
        return False
    return {id(layer.kernel), id(layer.bias)} <= {id(variable) for variable in layer.trainable_variables}

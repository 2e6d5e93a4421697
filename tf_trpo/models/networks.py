"""Networks: from normalised observations to features."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import numpy as np

from tf_trpo.spaces import PartSpec, Spec, map_parts, without_masks


def mlp(
    observation_shape: Sequence[int],
    hidden_sizes: Sequence[int] = (64, 64),
    *,
    activation: str = "tanh",
    seed: int | None = None,
) -> keras.Model:
    """Make a fully connected network without an output layer; observations of any rank are flattened.

    Args:
      observation_shape: shape of one observation.
      hidden_sizes: units of each layer; empty for a linear policy.
      activation: a Keras activation.
      seed: makes the orthogonal initial weights reproducible.

    Returns:
      keras.Model, [N, *observation_shape] -> [N, hidden_sizes[-1]].
    """
    layers: list[keras.layers.Layer] = [keras.Input(tuple(observation_shape))]
    if len(observation_shape) != 1:
        layers.append(keras.layers.Flatten())
    for size, layer_seed in zip(hidden_sizes, layer_seeds(seed, len(hidden_sizes)), strict=True):
        initializer = keras.initializers.Orthogonal(gain=math.sqrt(2), seed=layer_seed)
        layers.append(keras.layers.Dense(size, activation, kernel_initializer=initializer))
    if len(layers) == 1:
        layers.append(keras.layers.Identity())
    return keras.Sequential(layers)


def default_network(
    spec: Spec, hidden_sizes: Sequence[int] = (64, 64), *, activation: str = "tanh", seed: int | None = None
) -> keras.Model:
    """Make the network for an observation: today an `mlp` for a lone part."""
    part = without_masks(spec, spec)
    if not isinstance(part, PartSpec):
        raise ValueError("only a lone part")
    return mlp(part.input_shape, hidden_sizes, activation=activation, seed=seed)


def feature_shape(network: keras.Model, spec: Spec) -> tuple[int | None, ...]:
    """Compute the shape [None, F] of a network's output; this builds a network that was not built yet.

    Raises:
      ValueError: the output is not one vector for each observation.
    """
    inputs = map_parts(lambda part: keras.KerasTensor((None, *part.input_shape)), spec)
    shape = tuple(network(without_masks(spec, inputs)).shape)
    if len(shape) != 2:
        raise ValueError(f"the network must give one vector of features for each observation, not an array {shape[1:]}")
    return shape


def layer_seeds(seed: int | None, count: int) -> list[int | None]:
    """Make independent seeds for `count` layers; None leaves each layer to Keras' global seed."""
    if seed is None:
        return [None] * count
    return [int(word) for word in np.random.SeedSequence(seed).generate_state(count) >> 1]


def first_dense_layer(network: keras.Model, output: keras.layers.Dense) -> keras.layers.Dense | None:
    """Find the layer that all inputs go through first, if it is a Dense layer with a bias.

    Args:
      network: only a keras.Sequential is searched; layers that pass on or flatten are skipped.
      output: the layer on top of the network.
    """
    if not isinstance(network, keras.Sequential):
        return None
    passing = (keras.layers.Identity, keras.layers.Flatten)
    first = next(layer for layer in [*network.layers, output] if not isinstance(layer, passing))
    return first if type(first) is keras.layers.Dense and first.use_bias else None

"""Networks that map normalised observations to features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np

from tf_trpo.spaces import PartSpec, Spec, flatten_to, map_parts, parts, without_masks
from tf_trpo.spaces.specs import channels_first


class Convolution(NamedTuple):
    """A convolution without padding: number of filters, height and width of a filter, stride."""

    filters: int
    size: int
    stride: int


NATURE = (Convolution(32, 8, 4), Convolution(64, 4, 2), Convolution(64, 3, 1))
"""Convolutions for images whose shorter side has 64 pixels or more.

Source:
  Mnih et al. (2015), "Human-level control through deep reinforcement learning".
"""
MIDDLE = (Convolution(16, 4, 2), Convolution(32, 4, 2), Convolution(64, 3, 1))
"""Convolutions for shorter sides of 18 to 63 pixels."""
SMALL = (Convolution(16, 2, 1), Convolution(32, 2, 1), Convolution(64, 2, 1))
"""Convolutions for shorter sides below 18, such as MiniGrid's 7 x 7 cells; as many as fit into the image are used.

Source:
  Chevalier-Boisvert et al., "rl-starter-files", the network for MiniGrid (without its pooling).
"""


def convolutions_for(height: int, width: int) -> tuple[Convolution, ...]:
    """Choose the convolutions for an image by its shorter side, in pixels."""
    shorter = min(height, width)
    if shorter >= 64:
        return NATURE
    return MIDDLE if shorter >= 18 else SMALL[: shorter - 1]


def convolved(image: keras.KerasTensor, name: str, seed: int | None) -> keras.KerasTensor:
    """Apply convolutions with ReLU to an image, and flatten the result.

    Args:
      image: [N, height, width, channels], or [N, channels, height, width] if `channels_first` finds it so.
      name: prefix of the names of the layers.
      seed: seed of the orthogonal initial weights.

    Returns:
      Features [N, F].
    """
    if channels_first(image.shape[1:]):
        image = keras.layers.Permute((2, 3, 1), name=f"{name}.transposed")(image)
    chosen = convolutions_for(image.shape[1], image.shape[2])
    for position, (convolution, own) in enumerate(zip(chosen, layer_seeds(seed, len(chosen)), strict=True)):
        image = keras.layers.Conv2D(
            convolution.filters,
            convolution.size,
            convolution.stride,
            data_format="channels_last",
            activation="relu",
            kernel_initializer=keras.initializers.Orthogonal(math.sqrt(2), own),
            name=f"{name}.convolution.{position}",
        )(image)
    return _flatten(f"{name}.flat")(image)


def default_network(
    spec: Spec, hidden_sizes: Sequence[int] = (64, 64), *, activation: str = "tanh", seed: int | None = None
) -> keras.Model:
    """Make a network for the parts of an observation: convolutions for each image, then an MLP for all parts together.

    Args:
      spec: spec of the observation; masks are not inputs.
      hidden_sizes, activation: settings of the MLP; see `mlp`.
      seed: seed of the orthogonal initial weights.

    Returns:
      keras.Model from the encoded observations without masks (`without_masks`), each part [N, *PartSpec.input_shape],
      to [N, hidden_sizes[-1]]. For a single part that is not an image, it is the result of `mlp`.

    Raises:
      ValueError: the observation consists of masks only.
    """
    spec = without_masks(spec, spec)
    found = list(parts(spec))
    if not found:
        raise ValueError("the observation has nothing other than an action mask: there is no input for a network")
    if isinstance(spec, PartSpec) and spec.kind != "image":
        return mlp(spec.input_shape, hidden_sizes, activation=activation, seed=seed)
    # Keras requires that an input in a dict is named by its key. Names of layers are fixed, since runs are compared by
    # them.
    names = iter([name.replace("/", ".") or "image" for name, _ in found])
    inputs = map_parts(lambda part: keras.Input(part.input_shape, name=next(names)), spec)
    seeds = layer_seeds(seed, 1 + len(found))
    features = [
        convolved(values, f"part.{i}", seeds[i]) if part.kind == "image" else _flatten(f"part.{i}.flat")(values)
        for i, ((_, part), values) in enumerate(zip(found, flatten_to(spec, inputs), strict=True))
    ]
    joined = keras.layers.Concatenate(name="part.all")(features) if len(features) > 1 else features[0]
    for i, layer in enumerate(_dense_layers(hidden_sizes, activation, seeds[-1])):
        layer.name = f"mlp.{i}"
        joined = layer(joined)
    return keras.Model(inputs, joined)


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
      seed: seed of the orthogonal initial weights.

    Returns:
      keras.Model, [N, *observation_shape] -> [N, hidden_sizes[-1]].
    """
    layers: list[keras.layers.Layer] = [keras.Input(tuple(observation_shape))]
    if len(observation_shape) != 1:
        layers.append(_flatten())
    layers += _dense_layers(hidden_sizes, activation, seed)
    if len(layers) == 1:
        layers.append(keras.layers.Identity())
    return keras.Sequential(layers)


def _flatten(name: str | None = None) -> keras.layers.Layer:
    # The images of this package have their channels last, whatever Keras' configuration file says.
    return keras.layers.Flatten("channels_last", name=name)


def _dense_layers(hidden_sizes: Sequence[int], activation: str, seed: int | None) -> list[keras.layers.Layer]:
    return [
        keras.layers.Dense(size, activation, kernel_initializer=keras.initializers.Orthogonal(math.sqrt(2), layer_seed))
        for size, layer_seed in zip(hidden_sizes, layer_seeds(seed, len(hidden_sizes)), strict=True)
    ]


def feature_shape(network: keras.Model, spec: Spec) -> tuple[int | None, ...]:
    """Compute the shape [None, F] of a network's output; builds the network if necessary.

    Raises:
      ValueError: the output is not one vector for each observation.
    """
    inputs = map_parts(lambda part: keras.KerasTensor((None, *part.input_shape)), spec)
    features = network(without_masks(spec, inputs))
    shape = tuple(getattr(features, "shape", ()))
    if len(shape) != 2:
        found = f"an array {shape[1:]}" if shape else f"a {type(features).__name__}"
        raise ValueError(f"the network must give one vector of features for each observation, not {found}")
    return shape


def layer_seeds(seed: int | None, count: int) -> list[int | None]:
    """Return independent seeds for `count` layers; without a seed, Nones, which mean Keras' global seed."""
    if seed is None:
        return [None] * count
    return [int(word) for word in np.random.SeedSequence(seed).generate_state(count) >> 1]

"""Convolutions: from images to feature vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import keras


class Convolution(NamedTuple):
    """A convolution without padding: its number of filters, their height and width, and its stride."""

    filters: int
    size: int
    stride: int


NATURE = (Convolution(32, 8, 4), Convolution(64, 4, 2), Convolution(64, 3, 1))
"""For sides of 64 pixels and more.

Source:
  Mnih et al. (2015), "Human-level control through deep reinforcement learning".
"""
MIDDLE = (Convolution(16, 4, 2), Convolution(32, 4, 2), Convolution(64, 3, 1))
"""For sides of 18 to 63."""
SMALL = (Convolution(16, 2, 1), Convolution(32, 2, 1), Convolution(64, 2, 1))
"""For smaller sides, such as those of MiniGrid's 7 x 7 cells; as many of them as fit into the image.

Source:
  Chevalier-Boisvert et al., "rl-starter-files", the network for MiniGrid (without its pooling).
"""


def convolutions_for(height: int, width: int) -> tuple[Convolution, ...]:
    """Choose the convolutions for an image by its shorter side, in pixels."""
    shorter = min(height, width)
    if shorter >= 64:
        return NATURE
    return MIDDLE if shorter >= 18 else SMALL[: shorter - 1]


def channels_first(shape: Sequence[int]) -> bool:
    """Tell whether an image has its channels first, as stacked frames [4, 84, 84] have: they are few."""
    return shape[0] < min(shape[1:])


def convolved(image: keras.KerasTensor, name: str, seeds: Sequence[int | None]) -> keras.KerasTensor:
    """Put convolutions on an image, with ReLU, and flatten the result.

    Args:
      image: [N, height, width, channels], or [N, channels, height, width] if the channels are fewer than the pixels.
      name: begins the names of the layers.
      seeds: of the orthogonal initial weights, one for each convolution; see `MOST`.

    Returns:
      Features [N, F].
    """
    if channels_first(image.shape[1:]):
        image = keras.layers.Permute((2, 3, 1), name=f"{name}.transposed")(image)
    chosen = convolutions_for(image.shape[1], image.shape[2])
    for position, (convolution, seed) in enumerate(zip(chosen, seeds, strict=False)):
        image = keras.layers.Conv2D(
            convolution.filters,
            convolution.size,
            convolution.stride,
            activation="relu",
            kernel_initializer=keras.initializers.Orthogonal(math.sqrt(2), seed),
            name=f"{name}.convolution.{position}",
        )(image)
    return keras.layers.Flatten(name=f"{name}.flat")(image)


MOST = len(NATURE)
"""Convolutions of a network, at most."""

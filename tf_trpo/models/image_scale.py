"""The scale of images, which is measured once."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

_LEAST = 1 / 255
"""Smallest scale: then the inputs are the bytes themselves."""
_ENOUGH = 256
"""Images of which the mean square is computed."""


@keras.saving.register_keras_serializable(package="tf_trpo")
class ImageScale(keras.layers.Layer):
    """Divides images, float32 in [0, 1], by their root mean square in the first rollout.

    So bytes that stand for symbols, such as MiniGrid's numbers from 0 to 10, become as large as normalised numbers. The
    result is not clipped: where most pixels are black, the others are much larger than their mean square, and differ.
    The scale is measured as long as the model's outputs do not depend on it, and is constant afterwards, so that it
    never changes what was learned.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = self.add_weight(shape=(), initializer="ones", trainable=False, name="scale")
        self.built = True

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return images / self.scale.value

    def begin(self, mean_square: tf.Tensor, free: tf.Tensor) -> None:
        """Take the scale from the mean square of new images.

        Args:
          mean_square: of images in [0, 1], scalar.
          free: bool scalar, whether the model's outputs do not depend on this layer.
        """
        measured = tf.maximum(tf.sqrt(tf.cast(mean_square, self.scale.dtype)), _LEAST)
        self.scale.assign(tf.where(free, measured, self.scale.value))


def evenly(images: tf.Tensor) -> tf.Tensor:
    """Return fewer than 512 of the images [T * B, ...], evenly spaced, of all B environments."""
    # An odd stride visits all environments, whose number is mostly even.
    stride = tf.bitwise.bitwise_or(tf.maximum(tf.shape(images)[0] // _ENOUGH, 1), 1)
    return images[::stride]


def mean_square(images: tf.Tensor) -> tf.Tensor:
    """Compute the mean square of images [N, ...], float32, of their parts and rows."""
    return tf.reduce_mean(tf.square(images))

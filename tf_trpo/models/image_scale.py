"""The scale of images, which is measured once."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

_CLIP = 10.0
"""Largest result, as of normalised numbers."""
_MOST = 256
"""Images of which the mean square is computed."""


@keras.saving.register_keras_serializable(package="tf_trpo")
class ImageScale(keras.layers.Layer):
    """Divides images, float32 in [0, 1], by their root mean square in the first rollout, and clips the result at 10.

    So bytes that stand for symbols, such as MiniGrid's numbers from 0 to 10, become as large as normalised numbers. The
    scale is measured as long as the model's outputs do not depend on it, and is constant afterwards, so that it never
    changes what was learned.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = self.add_weight(shape=(), initializer="ones", trainable=False, name="scale")
        self.built = True

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return tf.minimum(images / self.scale.value, _CLIP)

    def begin(self, mean_square: tf.Tensor, free: tf.Tensor) -> None:
        """Take the scale from the mean square of new images; black images have none.

        Args:
          mean_square: of images in [0, 1], scalar.
          free: bool scalar, whether the model's outputs do not depend on this layer.
        """
        measured = tf.sqrt(tf.cast(mean_square, self.scale.dtype))
        self.scale.assign(tf.where(free & (measured > 0), measured, self.scale.value))


def evenly(images: tf.Tensor) -> tf.Tensor:
    """Return at most about 256 of the images [N, ...], evenly spaced."""
    return images[:: tf.maximum(tf.shape(images)[0] // _MOST, 1)]


def mean_square(images: tf.Tensor) -> tf.Tensor:
    """Compute the mean square of images [N, ...], float32, of their parts and rows."""
    return tf.reduce_mean(tf.square(images))

"""The choice whether to compile an update with XLA."""

from __future__ import annotations

import logging

import keras
import tensorflow as tf

from tf_trpo.models.structure import layers_of

_logger = logging.getLogger(__name__)
COMPILATION_ERRORS = (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError, tf.errors.InternalError)
"""Errors by which XLA says that it cannot compile a function; other operations may raise them, too."""


def xla_is_fast(*models: keras.Model) -> bool:
    """Return whether XLA pays off: on a CPU, its convolutions take nine times as long as TensorFlow's own."""
    layers = [layer for model in models for layer in layers_of(model)]
    has_convolution = any("Conv" in base.__name__ for layer in layers for base in type(layer).__mro__)
    return not has_convolution or bool(tf.config.list_logical_devices("GPU"))


def warn_without_xla(error: Exception) -> None:
    """Log a warning that an update is compiled without XLA, because of an error of the compilation."""
    message = " ".join(str(error).split())
    # TensorFlow's message first names the place and then the reason.
    reason = message[max(0, message.find("Detected unsupported")) :][:300]
    _logger.warning("the update is compiled without XLA, which cannot compile it: %s", reason)

"""Conversion to LiteRT, for acting in rollouts and for export."""

from __future__ import annotations

import tensorflow as tf


def litert_flatbuffer(converter: tf.lite.TFLiteConverter) -> bytes:
    """Convert a converter's functions; raise ValueError if one has an operation that LiteRT does not have."""
    try:
        return converter.convert()
    except Exception as error:  # TensorFlow's ConverterError, which has no public name and no other base
        raise ValueError(str(error)) from error

"""The choice whether to compile an update with XLA."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from tf_trpo.models.structure import layers_of

if TYPE_CHECKING:
    from tf_trpo.learning.learner import Learner, Update

_logger = logging.getLogger(__name__)
_NOT_COMPILED = (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError, tf.errors.InternalError)


def xla_is_fast(*models: keras.Model) -> bool:
    """Return whether XLA pays off: on a CPU, its convolutions take nine times as long as TensorFlow's own."""
    layers = [layer for model in models for layer in layers_of(model)]
    has_convolution = any("Conv" in base.__name__ for layer in layers for base in type(layer).__mro__)
    return not has_convolution or bool(tf.config.list_logical_devices("GPU"))


def with_way_out_of_xla(learner: Learner) -> Update:
    """Return the learner's update; if XLA cannot compile it, the first call compiles the learner without XLA.

    The learner's variables are then restored, and the update is made again.
    """
    compiled, tried = learner.update, False

    def update(*arguments: Any) -> Any:
        nonlocal tried
        if tried:
            return compiled(*arguments)
        tried, before = True, learner.state()
        try:
            return compiled(*arguments)
        except _NOT_COMPILED as error:
            message = " ".join(str(error).split())
        # TensorFlow's message first names the place and then the reason.
        reason = message[max(0, message.find("Detected unsupported")) :][:300]
        _logger.warning("the update is compiled without XLA, which cannot compile it: %s", reason)
        learner.restore(before)
        learner.compile(jit_compile=False)
        return learner.update(*arguments)

    return update

"""What is said about an agent when it is made: how Keras must be set, and what cannot be loaded again."""

from __future__ import annotations

import json
import logging
import warnings
from typing import Any

import keras
import numpy as np

from tf_trpo.training.keras_config import check_config

_logger = logging.getLogger(__name__)


def check_keras() -> None:
    """Raise ValueError, in one line, unless Keras computes with TensorFlow and in float32."""
    backend, precision = keras.config.backend(), keras.config.dtype_policy().name
    if backend != "tensorflow":
        raise ValueError(f"Keras runs on {backend}, tf_trpo on TensorFlow: set KERAS_BACKEND=tensorflow")
    if keras.config.floatx() != "float32":
        raise ValueError(
            f"networks compute in float32, and Keras' floatx is {keras.config.floatx()}: keras.config.set_floatx"
            '("float32")'
        )
    if precision != "float32":
        raise ValueError(
            f"networks compute in float32, and Keras' dtype policy is {precision}: keras.mixed_precision."
            'set_global_policy("float32")'
        )


def check_whole_numbers(*, lowest: int = 1, **arguments: Any) -> None:
    """Raise TypeError or ValueError, with the argument's name, unless all are whole numbers from `lowest`, 0 or 1."""
    for name, value in arguments.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise TypeError(f"{name} must be a whole number, an int, got {value!r} ({type(value).__name__})")
        if value < lowest:
            raise ValueError(f"{name} must {'be at least 1' if lowest else 'not be negative'}, got {value}")


def obstacle_to_loading(agent: keras.Model) -> str | None:
    """Give the reason for which `tf_trpo.load` would refuse the agent's file in this process; None if it would not.

    Raises:
      ValueError: the agent cannot be written to a file at all, since a part of it has no config.
    """
    with warnings.catch_warnings():
        # Keras warns of each lambda.
        warnings.simplefilter("ignore")
        try:
            config: Any = json.loads(json.dumps(keras.saving.serialize_keras_object(agent)))
        except (NotImplementedError, TypeError) as error:
            message = " ".join(str(error).split())[:300]
            raise ValueError(f"the network cannot be saved: {message}") from error
    try:
        check_config(config, {}, type(agent))
    except ValueError as error:
        return str(error)
    return None


def warn_of_obstacle(when: str, obstacle: str) -> None:
    """Log that an agent's file cannot be loaded, and what to do."""
    layer = (
        "put a layer of your own, registered by keras.saving.register_keras_serializable, in the Lambda's place, or "
    )
    _logger.warning(
        "%s, but tf_trpo.load refuses the file: %s. To load it, %suse agent.load_weights(path) with the same code",
        when,
        obstacle,
        layer if "Lambda" in obstacle else "",
    )

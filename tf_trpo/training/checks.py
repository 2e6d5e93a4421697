"""What is said about an agent when it is made: how Keras must be set, what it shares, and what cannot be loaded."""

from __future__ import annotations

import gc
import json
import logging
import warnings
import weakref
from typing import Any

import keras
import numpy as np

from tf_trpo.training.keras_config import check_config

_logger = logging.getLogger(__name__)
_compiled: weakref.WeakSet[keras.Model] = weakref.WeakSet()
"""All agents that were compiled and are still there."""


def check_keras() -> None:
    """Raise ValueError, in one line, unless Keras computes with TensorFlow and in float32."""
    if keras.config.backend() != "tensorflow":
        raise ValueError(f"Keras runs on {keras.config.backend()}, tf_trpo on TensorFlow: set KERAS_BACKEND=tensorflow")
    for setting, precision, setter in (
        ("floatx", keras.config.floatx(), "keras.config.set_floatx"),
        ("dtype policy", keras.config.dtype_policy().name, "keras.mixed_precision.set_global_policy"),
    ):
        if precision != "float32":
            raise ValueError(f'networks compute in float32, and Keras\' {setting} is {precision}: {setter}("float32")')


def warn_of_raw_observations(agent: keras.Model) -> None:
    """Log, before an agent's first iteration, which of its models will never normalise observations."""
    for name in ("policy", "value_function") if int(agent.iterations) == 0 else ():
        encoder = getattr(agent, name).encoder
        encoder = getattr(encoder, "encoder", encoder)
        waits = any(int(layer.count) == 0 for layer in encoder.normalization)
        if waits and encoder.absorbing_layer() is None and np.any(encoder.output_layer.kernel):
            _logger.warning(
                "the %s was trained before, and its network has no layer that could take statistics in: observations "
                "are not normalised",
                name.replace("_", " "),
            )


def check_own_weights(*models: keras.Model) -> None:
    """Raise ValueError if two models of an agent share weights: to fit one would move the other."""
    weights = [id(variable) for model in models for variable in model.trainable_variables]
    if len(set(weights)) < len(weights):
        raise ValueError("the policy and the value function share trainable weights; give each its own network")


def check_unshared(agent: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
    """Raise ValueError if trainable weights of an agent, or its value optimizer, are those of another agent, too."""
    own = _parts(agent, optimizer)

    def shared() -> list[str]:
        others = [_parts(other, other.optimizer) for other in _compiled if other is not agent]
        return [own[part] for other in others for part in own.keys() & other.keys()]

    if shared():
        # By agents that nobody has any more.
        gc.collect()
    for name in shared():
        raise ValueError(
            f"{name} belongs to another agent too, whose fits would change this one: give each its own, as by "
            "keras.models.clone_model, or delete the other agent"
        )
    _compiled.add(agent)


def _parts(agent: keras.Model, optimizer: keras.optimizers.Optimizer) -> dict[int, str]:
    """Name what a fit of an agent changes, by id."""
    weights = {id(variable): variable.path for variable in agent.trainable_variables}
    return {**weights, id(optimizer): "the value optimizer"}


def warn_of_obstacle(agent: keras.Model, when: str, known: str | None = None) -> str | None:
    """Log that `tf_trpo.load` would refuse an agent's file in this process, and what to do; give the reason.

    Args:
      agent: to be saved.
      when: begins the line.
      known: a reason that is not logged again.

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
        obstacle = str(error)
    else:
        return None
    if obstacle != known:
        layer = "put a registered layer (keras.saving.register_keras_serializable) in the Lambda's place, or "
        _logger.warning(
            "%s, but tf_trpo.load refuses the file: %s. To load it, %suse agent.load_weights(path) with the same code",
            when,
            obstacle,
            layer if "Lambda" in obstacle else "",
        )
    return obstacle

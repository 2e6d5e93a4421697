"""Checks of a new agent: Keras' configuration, shared weights, and whether its file could be loaded again."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import warnings
import weakref
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from tf_trpo.models.cells import initial_span
from tf_trpo.training.keras_config import check_config

if TYPE_CHECKING:
    from tf_trpo.training.agent import Agent

_logger = logging.getLogger(__name__)
_compiled: weakref.WeakSet[keras.Model] = weakref.WeakSet()
"""All agents that were compiled and still exist."""


def check_keras() -> None:
    """Raise ValueError unless Keras runs on TensorFlow, on one device, and computes in float32."""
    if keras.config.backend() != "tensorflow":
        raise ValueError(f"Keras runs on {keras.config.backend()}, tf_trpo on TensorFlow: set KERAS_BACKEND=tensorflow")
    for setting, precision, setter in (
        ("floatx", keras.config.floatx(), "keras.config.set_floatx"),
        ("dtype policy", keras.config.dtype_policy().name, "keras.mixed_precision.set_global_policy"),
    ):
        if precision != "float32":
            raise ValueError(f'networks compute in float32, and Keras\' {setting} is {precision}: {setter}("float32")')
    if tf.distribute.has_strategy():
        strategy = type(tf.distribute.get_strategy()).__name__
        raise ValueError(f"an agent learns on one device, not in the scope of {strategy}; fit has workers instead")


@contextlib.contextmanager
def in_this_thread(agent: Agent) -> Iterator[None]:
    """Prevent other threads from fitting, cloning or exporting an agent, which all assign its policy's weights.

    Raises:
      ValueError: another thread does so now.
    """
    if not agent.lock.acquire(blocking=False):
        raise ValueError(
            "another thread fits, clones or exports this agent, and both would assign its weights: export it in a "
            "callback of the fit, or load its saved file for this thread"
        )
    try:
        yield
    finally:
        agent.lock.release()


def warn_of_raw_observations(agent: keras.Model) -> None:
    """Log a warning, before an agent's first iteration, for each model that will never normalise observations."""
    for name in ("policy", "value_function") if int(agent.iterations) == 0 else ():
        encoder = getattr(agent, name).encoder
        encoder = getattr(encoder, "encoder", encoder)
        pairs = zip(encoder.normalization, encoder.absorbing_rows(), strict=True)
        waits = any(int(layer.count) == 0 and rows is None for layer, rows in pairs)
        if waits and np.any(encoder.output_layer.kernel):
            _logger.warning(
                "the %s was trained before, and its network has no layer that could absorb statistics: observations "
                "are not normalised",
                name.replace("_", " "),
            )


def warn_of_short_segments(agent: keras.Model, num_steps: int) -> None:
    """Log a warning, before an agent's first iteration, if its memory's span is longer than gradients go back.

    Raises:
      ValueError: the settings of segments do not fit rollouts of `num_steps` rows.
    """
    memory = agent.policy.memory if int(agent.iterations) == 0 else None
    span = None if memory is None else initial_span(memory.cell)
    if span is None:
        return
    burn_in = agent.update_settings.burn_in
    reach = agent.update_settings.segment_length_for(num_steps) + burn_in
    # The span was a logarithm in between, so it is not exact.
    if span > reach + 1e-3:
        _logger.warning(
            "memory_span is %g rows, and gradients go back through %d rows only, segment_length and burn_in (%d) "
            "together: they cannot teach the memory to keep information for longer",
            round(span, 2),
            reach,
            burn_in,
        )


def check_own_weights(*models: keras.Model) -> None:
    """Raise ValueError if two models of an agent share weights: fitting one would change the other."""
    weights = [id(variable) for model in models for variable in model.trainable_variables]
    if len(set(weights)) < len(weights):
        raise ValueError("the policy and the value function share trainable weights; give each its own network")


def check_unshared(agent: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
    """Raise ValueError if another agent has the same trainable weights or value optimizer."""
    own = _parts(agent, optimizer)

    def shared() -> list[str]:
        others = [_parts(other, other.optimizer) for other in _compiled if other is not agent and other.compiled]
        return [own[part] for other in others for part in own.keys() & other.keys()]

    if shared():
        # Agents without references may not have been collected yet.
        gc.collect()
    for name in shared():
        raise ValueError(
            f"{name} belongs to another agent too, whose fits would change this one: give each its own, as by "
            "keras.models.clone_model, or delete the other agent"
        )
    _compiled.add(agent)


def check_value_optimizers(
    optimizers: Sequence[keras.optimizers.Optimizer], value_functions: Sequence[keras.Model]
) -> None:
    """Raise ValueError unless each optimizer was built for all trainable weights of its value function."""
    for optimizer, value_function in zip(optimizers, value_functions, strict=True):
        try:
            optimizer._check_variables_are_known(value_function.trainable_variables)
        except ValueError as error:
            raise ValueError(
                "value_optimizer was built for other weights, as of another network or before a layer was unfrozen: "
                "give a new one"
            ) from error


def check_saveable(**parts: Any) -> None:
    """Raise ValueError, with the name, if a part of an agent cannot be written to a file, as it has no config."""
    for name, part in parts.items():
        _config_of(name.replace("_", " "), part)


def _config_of(name: str, part: Any) -> Any:
    """Return a part's config as JSON has it; raise ValueError, with the name, if it has none."""
    with warnings.catch_warnings():
        # Keras warns of each lambda.
        warnings.simplefilter("ignore")
        try:
            return json.loads(json.dumps(keras.saving.serialize_keras_object(part)))
        except (NotImplementedError, TypeError) as error:
            raise ValueError(f"the {name} cannot be saved: {' '.join(str(error).split())[:300]}") from error


def _parts(agent: keras.Model, optimizer: keras.optimizers.Optimizer) -> dict[int, str]:
    """Return the names, by id, of the objects that a fit of an agent changes."""
    weights = {id(variable): variable.path for variable in agent.trainable_variables}
    return {**weights, id(optimizer): "the value optimizer"}


def warn_of_obstacle(agent: keras.Model, when: str, known: str | None = None) -> str | None:
    """Log a warning, with the remedy, if `tf_trpo.load` would refuse an agent's file in this process.

    Args:
      agent: the agent to save.
      when: beginning of the message.
      known: a reason that is not logged again.

    Returns:
      The reason, or None if the file could be loaded.

    Raises:
      ValueError: the agent cannot be written to a file at all, because a part of it has no config.
    """
    config = _config_of("agent", agent)
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

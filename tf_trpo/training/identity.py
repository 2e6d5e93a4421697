"""What the result of a run depends on, so that a checkpoint is continued by the same run only."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    from tf_trpo.training.trpo import TRPO

_IMMATERIAL = ("name", "fisher_vector_product", "chunk_size", "value_learning_rate")
"""Settings that change no more than rounding, names that Keras numbers, and a rate that the value optimizer holds."""


def run_identity(agent: TRPO, environment: Any, **settings: Any) -> dict[str, Any]:
    """Describe all that the result of a fit depends on, as JSON has it; of environments, only an id can be compared."""
    serialized = keras.saving.serialize_keras_object
    parts = {
        "environment": environment if isinstance(environment, str) else None,
        **settings,
        "ema_momentum": agent.ema_momentum,
        "update": dataclasses.asdict(agent.update_settings),
        "policy_optimizer": {"class": type(agent.policy_optimizer).__name__, **agent.policy_optimizer.get_config()},
        "value_optimizer": serialized(agent.optimizer),
        "policy": serialized(agent.policy),
        "value_function": serialized(agent.value_function),
    }
    identity: dict[str, Any] = json.loads(
        json.dumps(parts, default=lambda value: type(value).__name__),
        object_hook=lambda found: {key: found[key] for key in found if key not in _IMMATERIAL},
        # JSON has no infinite numbers, such as the bounds of unbounded actions.
        parse_constant=str,
    )
    return identity


def check_identity(then: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise ValueError, which names what differs, unless two runs are the same; None as environment is not compared."""
    before, after = (dict(keras.tree.flatten_with_path(identity)) for identity in (then, now))
    differing = [
        f"{'/'.join(map(str, path))[:200]} {str(before.get(path))[:100]}, not {str(after.get(path))[:100]}"
        for path in (before | after)
        if before.get(path) != after.get(path)
        and not (path == ("environment",) and None in (before.get(path), after.get(path)))
    ]
    if differing:
        raise ValueError(f"it is of a run with {'; '.join(differing[:5])}")

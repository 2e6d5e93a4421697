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
    """Describe all that the result of a fit depends on, as JSON has it.

    Args:
      agent: compiled.
      environment: of the fit; only a Gymnasium id can be compared.
      **settings: of the fit.
    """
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
    differing = [
        place
        for name in sorted(then.keys() | now.keys())
        for place in _differences(name, then.get(name), now.get(name))
        if not (name == "environment" and None in (then.get(name), now.get(name)))
    ]
    if differing:
        raise ValueError(f"it is of a run with {'; '.join(differing[:5])}")


def _differences(place: str, then: Any, now: Any) -> list[str]:
    if isinstance(then, dict) and isinstance(now, dict):
        names = sorted(then.keys() | now.keys())
        return [found for name in names for found in _differences(f"{place}/{name}", then.get(name), now.get(name))]
    if isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        pairs = enumerate(zip(then, now, strict=True))
        return [found for position, pair in pairs for found in _differences(f"{place}/{position}", *pair)]
    return [] if then == now else [f"{place[:200]} {str(then)[:100]}, not {str(now)[:100]}"]

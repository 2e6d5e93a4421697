"""Descriptions of everything that the result of a run, or a compiled update, depends on.

With them, a checkpoint can be continued by the same run only, and no change after `compile` is ignored.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from tf_trpo.environments.costs import cost_name
from tf_trpo.environments.making import without_addresses, wrapper_name
from tf_trpo.learning.settings import ROUNDING
from tf_trpo.models.structure import (
    all_known,
    as_structure,
    describe_layers,
    layers_of,
    nested_dataclasses,
    pattern_of,
    value_of_numpy,
)
from tf_trpo.training.checks import check_keras

if TYPE_CHECKING:
    from tf_trpo.training.compiled_agent import CompiledAgent

_IMMATERIAL = ROUNDING | {"name", "shared_object_id", "value_learning_rate"}
"""Keys that do not identify a run: settings that only change rounding, names that Keras numbers, and a learning rate
that is a variable."""
_PARTS = [
    *("policy", "value_function", "return_scale", "average", "optimizer", "policy_optimizer", "update_settings"),
    *("costs", "cost_value_functions", "cost_return_scales", "cost_optimizers", "anchor", "shown"),
]


def run_identity(agent: CompiledAgent, environment: Any, opening: Mapping[str, Any], **settings: Any) -> dict[str, Any]:
    """Describe everything that the result of a fit depends on, as JSON; an environment is described only by an id."""
    serialized = keras.saving.serialize_keras_object
    shown = agent.shown if agent.policy_optimizer.imitates else None
    parts = {
        "environment": environment if isinstance(environment, str) else None,
        "wrappers": list(map(wrapper_name, opening["wrappers"])),
        "action_masks": opening["action_masks"],
        **settings,
        "ema_momentum": agent.ema_momentum,
        "update": dataclasses.asdict(agent.update_settings),
        "policy_optimizer": {"class": type(agent.policy_optimizer).__name__, **agent.policy_optimizer.get_config()},
        "value_optimizer": serialized(agent.optimizer),
        "policy": serialized(agent.policy),
        "value_function": serialized(agent.value_function),
        "demonstrations": None if shown is None else digest(tf.nest.flatten((shown.observations, shown.actions))),
        "costs": list(map(cost_name, agent.costs)),
        "cost_value_functions": list(map(serialized, agent.cost_value_functions)),
        "anchor": None if agent.anchor is None else digest(agent.anchor.weights),
    }
    identity: dict[str, Any] = json.loads(
        json.dumps(parts, default=_described),
        object_hook=lambda found: {key: found[key] for key in found if key not in _IMMATERIAL},
        # JSON has no infinite numbers, such as the bounds of unbounded actions.
        parse_constant=str,
    )
    # An argument of an environment may have any name.
    made_with = json.dumps(dict(opening["env_kwargs"] or {}), default=_described)
    return {**identity, "env_kwargs": json.loads(made_with, parse_constant=str)}


def digest(arrays: Iterable[Any]) -> str:
    """Return the SHA-256 of the values of arrays or variables, to tell runs apart."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def _described(value: Any) -> Any:
    """Describe a value that JSON lacks, such as an argument of an environment, equally in every process."""
    if isinstance(value, set | frozenset):
        return sorted(str(_described(each)) for each in value)
    return value_of_numpy(value, wrapper_name(value) if callable(value) else without_addresses(repr(value)))


def check_identity(then: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise ValueError with the differences unless two runs are the same; an environment that is None always fits."""
    differing = [
        f"{path} {before}, not {after}"
        for path, before, after in _differences(then, now)
        if path != "environment" or None not in (then["environment"], now["environment"])
    ]
    if differing:
        raise ValueError(f"it is of a run with {'; '.join(differing[:5])}")


@dataclasses.dataclass(frozen=True, eq=False)
class CompiledWith:
    """Everything that an agent's update depends on, as it was when the agent was compiled.

    Attributes:
      parts: the agent's attributes, by name.
      described: a description of the agent; see `compiled_parts`.
      policy_weights: a description of the policy's weights and of which are trainable; see `pattern_of`.
    """

    parts: dict[str, Any]
    described: dict[str, Any]
    policy_weights: str


def note_compiled(agent: CompiledAgent) -> None:
    """Record what an agent is compiled with, for the checks below, and the structure of its learner."""
    agent.compiled_with = CompiledWith(_own_parts(agent), compiled_parts(agent), pattern_of(agent.policy.weights))
    agent.learner.structure = shared_structure(agent)


def compiled_parts(agent: CompiledAgent) -> dict[str, Any]:
    """Describe everything that an agent's compiled update depends on, as JSON, by the agent's attributes.

    The learning rate is left out, because it is a variable of the value optimizer, and so are initialisers.
    """
    optimizer = keras.saving.serialize_keras_object(agent.optimizer)
    if isinstance(optimizer["config"].get("learning_rate"), float):
        del optimizer["config"]["learning_rate"]
    parts = {
        "policy_optimizer": {"class": type(agent.policy_optimizer).__name__, **agent.policy_optimizer.get_config()},
        "optimizer": optimizer,
        "update_settings": dataclasses.asdict(agent.update_settings),
        "jit_compile": agent.jit_compile,
        "ema_momentum": agent.ema_momentum,
    }
    return {**as_structure(parts), **{name: describe_layers(model) for name, model in _models(agent).items()}}


def _models(agent: CompiledAgent) -> dict[str, keras.Model]:
    """Return all models that an update calls, by name."""
    models = {"policy": agent.policy, "value_function": agent.value_function}
    models |= {f"value_function of cost {place + 1}": each for place, each in enumerate(agent.cost_value_functions)}
    return models if agent.anchor is None else {**models, "anchor": agent.anchor}


def check_compiled(agent: CompiledAgent) -> None:
    """Raise ValueError unless an agent was compiled."""
    if not agent.compiled:
        raise ValueError("the agent is not compiled, so it has no algorithm to learn by: call compile first")


def check_unchanged(agent: CompiledAgent) -> None:
    """Raise ValueError with the first difference unless an agent is as it was when it was compiled."""
    check_compiled(agent)
    check_keras()
    if agent.run_eagerly:
        raise ValueError("run_eagerly has no effect: call tf.config.run_functions_eagerly(True) instead")
    again = "call compile again"
    differing = _differences(agent.compiled_with.described, compiled_parts(agent))
    if differing:
        # The last layer is the innermost.
        innermost = differing[0][0].startswith(("policy/", "value_function/"))
        path, before, after = differing[-1 if innermost else 0]
        raise ValueError(f"{path} was changed after compile, from {before} to {after}: {again}")
    for name in _other_parts(agent, agent.compiled_with):
        raise ValueError(f"{name} was changed after compile, to another one with the same settings: {again}")
    if not agent.learner.has_its_variables():
        raise ValueError(f"the agent has other variables than when it was compiled: {again}")


def check_compiled_as(agent: CompiledAgent, compiled: CompiledWith) -> None:
    """Raise ValueError if an agent was compiled or its parts were replaced since a fit began."""
    changed = [*_other_parts(agent, compiled), *["compile"] * (agent.compiled_with is not compiled)]
    if changed:
        raise ValueError(f"{changed[0]} has no effect on a fit that has begun: change the agent between two fits")


def _own_parts(agent: CompiledAgent) -> dict[str, Any]:
    return {name: getattr(agent, name) for name in _PARTS}


def _other_parts(agent: CompiledAgent, compiled: CompiledWith) -> list[str]:
    """Return the names of an agent's attributes that are not the objects it was compiled with."""
    return [name for name, part in _own_parts(agent).items() if part != compiled.parts[name]]


def shared_structure(agent: CompiledAgent) -> str | None:
    """Describe an agent so that equal descriptions mean equal updates; None if a part may not be fully described."""
    described = agent.compiled_with.described
    layers = [layer for model in _models(agent).values() for layer in layers_of(model)]
    known = all_known(described, *layers, agent.optimizer, *nested_dataclasses(agent.policy_optimizer))
    settings = ("policy_optimizer", "update_settings")
    others = {name: part for name, part in described.items() if name not in settings}
    return json.dumps([others, agent.learner.numbers.structure]) if known else None


def _differences(then: dict[str, Any], now: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return the differences of two descriptions: the path, and the value in each."""
    before, after = (dict(keras.tree.flatten_with_path(description)) for description in (then, now))
    return [
        ("/".join(map(str, path))[:200], str(before.get(path))[:100], str(after.get(path))[:100])
        for path in (before | after)
        if before.get(path) != after.get(path)
    ]

"""Descriptions of everything that the result of a run, or a compiled update, depends on.

With them, a checkpoint can be continued by the same run only, and no change after `compile` is ignored.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras

from tf_trpo.environments.costs import cost_name
from tf_trpo.environments.making import without_addresses, wrapper_name
from tf_trpo.learning.settings import ROUNDING
from tf_trpo.models.structure import (
    all_known,
    as_structure,
    describe_layers,
    layers_of,
    nested_dataclasses,
    value_of_numpy,
)
from tf_trpo.training.anchor import fingerprint

if TYPE_CHECKING:
    from tf_trpo.learning.learner import Learner
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
        "demonstrations": agent.learner.digest_of_shown(),
        "costs": list(map(cost_name, agent.costs)),
        "cost_value_functions": list(map(serialized, agent.cost_value_functions)),
        "anchor": fingerprint(agent.anchor),
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


def note_compiled(agent: CompiledAgent) -> None:
    """Record in an agent's learner the parts and settings it was made with, for the checks below."""
    learner = agent.learner
    learner.parts, learner.described = _own_parts(agent), compiled_parts(agent)
    learner.structure = shared_structure(agent)


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
    learner, again = agent.learner, "call compile again"
    differing = _differences(learner.described, compiled_parts(agent))
    if differing:
        # The last layer is the innermost.
        innermost = differing[0][0].startswith(("policy/", "value_function/"))
        path, before, after = differing[-1 if innermost else 0]
        raise ValueError(f"{path} was changed after compile, from {before} to {after}: {again}")
    for name in _other_parts(agent, learner):
        raise ValueError(f"{name} was changed after compile, to another one with the same settings: {again}")
    if not learner.has_its_variables():
        raise ValueError(f"the agent has other variables than when it was compiled: {again}")


def check_compiled_as(agent: CompiledAgent, learner: Learner) -> None:
    """Raise ValueError if an agent was compiled or its parts were replaced since a fit with this learner began."""
    changed = [*_other_parts(agent, learner), *["compile"] * (agent.learner is not learner)]
    if changed:
        raise ValueError(f"{changed[0]} has no effect on a fit that has begun: change the agent between two fits")


def _own_parts(agent: CompiledAgent) -> dict[str, Any]:
    return {name: getattr(agent, name) for name in _PARTS}


def _other_parts(agent: CompiledAgent, learner: Learner) -> list[str]:
    """Return the names of an agent's attributes that are not the objects its learner was made with."""
    return [name for name, part in _own_parts(agent).items() if part != learner.parts[name]]


def shared_structure(agent: CompiledAgent) -> str | None:
    """Describe an agent so that equal descriptions mean equal updates; None if a part may not be fully described."""
    described = agent.learner.described
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

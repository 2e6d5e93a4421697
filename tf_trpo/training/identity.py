"""What the result of a run, and what a compiled update depends on.

A checkpoint is continued by the same run only, and nothing that is set after `compile` is ignored.
"""

from __future__ import annotations

import dataclasses
import json
import types
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    from tf_trpo.training.learner import Learner
    from tf_trpo.training.trpo import TRPO

_IMMATERIAL = ("name", "shared_object_id", "fisher_vector_product", "chunk_size", "value_learning_rate")
"""To a run: settings that change no more than rounding, names that Keras numbers, a rate that is a variable."""
_PARTS = ("policy", "value_function", "return_scale", "average", "optimizer", "policy_optimizer", "update_settings")
_KNOWN = ("keras", "tf_trpo")
"""Packages whose classes are described by their configs."""


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
    differing = [
        f"{path} {before}, not {after}"
        for path, before, after in _differences(then, now)
        if path != "environment" or None not in (then["environment"], now["environment"])
    ]
    if differing:
        raise ValueError(f"it is of a run with {'; '.join(differing[:5])}")


def note_compiled(agent: TRPO) -> None:
    """Let an agent's learner know what it was made of, for the checks below."""
    learner = agent.learner
    learner.parts, learner.described = _own_parts(agent), compiled_parts(agent)
    learner.structure = shared_structure(agent)


def compiled_parts(agent: TRPO) -> dict[str, Any]:
    """Describe what an agent's compiled update depends on, as JSON has it, by the agent's attributes.

    A learning rate is no part of it, since the value optimizer has it as a variable, nor is how weights were
    initialised.
    """
    with warnings.catch_warnings():
        # Keras warns of each lambda.
        warnings.simplefilter("ignore")
        layers = {
            name: {f"{place} {type(layer).__name__}": layer.get_config() for place, layer in enumerate(_layers(model))}
            for name, model in (("policy", agent.policy), ("value_function", agent.value_function))
        }
    optimizer = keras.saving.serialize_keras_object(agent.optimizer)
    if isinstance(optimizer["config"].get("learning_rate"), float):
        del optimizer["config"]["learning_rate"]
    parts = {
        "policy_optimizer": {"class": type(agent.policy_optimizer).__name__, **agent.policy_optimizer.get_config()},
        "optimizer": optimizer,
        "update_settings": dataclasses.asdict(agent.update_settings),
        "jit_compile": agent.jit_compile,
        "ema_momentum": agent.ema_momentum,
        **layers,
    }
    described: dict[str, Any] = json.loads(
        json.dumps(parts, default=lambda value: type(value).__name__), object_hook=_structure, parse_constant=str
    )
    return described


def check_unchanged(agent: TRPO) -> None:
    """Raise ValueError, which names what differs, unless an agent is as it was when it was compiled."""
    learner, again = agent.learner, "call compile again"
    differing = _differences(learner.described, compiled_parts(agent))
    if differing:
        # Of layers, the last one is the innermost.
        innermost = differing[0][0].startswith(("policy/", "value_function/"))
        path, before, after = differing[-1 if innermost else 0]
        raise ValueError(f"{path} was changed after compile, from {before} to {after}: {again}")
    for name in _other_parts(agent, learner):
        raise ValueError(f"{name} was changed after compile, to another one with the same settings: {again}")
    if not learner.has_its_variables():
        raise ValueError(f"the agent has other variables than when it was compiled: {again}")


def check_compiled_as(agent: TRPO, learner: Learner) -> None:
    """Raise ValueError if an agent was compiled, or given other parts, since a fit by this learner began."""
    changed = [*_other_parts(agent, learner), *["compile"] * (agent.learner is not learner)]
    if changed:
        raise ValueError(f"{changed[0]} has no effect on a fit that has begun: change the agent between two fits")


def _own_parts(agent: TRPO) -> dict[str, Any]:
    return {name: getattr(agent, name) for name in _PARTS}


def _other_parts(agent: TRPO, learner: Learner) -> list[str]:
    """Name the attributes of an agent that are not what its learner has; settings may be equal ones."""
    return [name for name, part in _own_parts(agent).items() if part != learner.parts[name]]


def shared_structure(agent: TRPO) -> str | None:
    """Describe an agent so that equal descriptions mean equal updates; None if a part of it may hide something.

    The latter are parts whose classes are neither Keras' nor this package's, functions, and changed methods.
    """
    described = agent.learner.described
    layers = [*_layers(agent.policy), *_layers(agent.value_function)]
    known = all(map(_is_known, [*layers, agent.optimizer, *_dataclasses(agent.policy_optimizer)]))
    if not known or not all(_is_known_module(found) for found in _serialized(described)):
        return None
    return json.dumps([described, repr(agent.policy_optimizer)])


def _differences(then: dict[str, Any], now: dict[str, Any]) -> list[tuple[str, str, str]]:
    """List path, one side and the other of all that two descriptions do not have alike."""
    before, after = (dict(keras.tree.flatten_with_path(description)) for description in (then, now))
    return [
        ("/".join(map(str, path))[:200], str(before.get(path))[:100], str(after.get(path))[:100])
        for path in (before | after)
        if before.get(path) != after.get(path)
    ]


def _structure(found: dict[str, Any]) -> dict[str, Any]:
    # The lone name is a dtype policy's.
    other = ("name", "seed", "shared_object_id")
    kept = found if len(found) == 1 else {key: found[key] for key in found if key not in other}
    return {key: kept[key] for key in kept if not key.endswith("initializer")}


def _layers(model: keras.Model) -> list[keras.layers.Layer]:
    return list(model._flatten_layers())


def _dataclasses(settings: Any) -> Iterator[Any]:
    """Yield a dataclass and those in its fields."""
    if dataclasses.is_dataclass(settings):
        yield settings
        for field in dataclasses.fields(settings):
            yield from _dataclasses(getattr(settings, field.name))


def _is_known(part: Any) -> bool:
    """Tell whether a part is of a class of Keras or of this package, and has the methods of its class."""
    # Keras wraps these itself, and `loss` is an attribute of a model.
    own = set(vars(part)) - {"build", "quantize", "loss"}
    changed = any(callable(getattr(type(part), name, None)) for name in own)
    functions = [value for value in vars(part).values() if isinstance(value, types.FunctionType)]
    return not changed and all(each.__module__.split(".")[0] in _KNOWN for each in [type(part), *functions])


def _serialized(described: Any) -> Iterator[dict[str, Any]]:
    """Yield all serialized objects of a description."""
    inner = described.values() if isinstance(described, dict) else described if isinstance(described, list) else ()
    for value in inner:
        yield from _serialized(value)
    if isinstance(described, dict) and "class_name" in described:
        yield described


def _is_known_module(serialized: dict[str, Any]) -> bool:
    return serialized["class_name"] == "__keras_tensor__" or str(serialized.get("module")).split(".")[0] in _KNOWN

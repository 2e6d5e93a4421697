"""The structure of a model as JSON: models of equal structure share traced functions and converted models."""

from __future__ import annotations

import dataclasses
import json
import types
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import keras

_KNOWN = ("keras", "tf_trpo")
"""Packages whose classes are described by their configs."""
_LARGEST = 32
"""Traced or converted models of one kind that are kept at most."""


def layers_of(model: keras.Model) -> list[keras.layers.Layer]:
    """List a model and all layers inside of it."""
    return list(model._flatten_layers())


def describe_layers(model: keras.Model) -> dict[str, Any]:
    """Give the configs of a model and of all its layers, as JSON has them.

    Names, seeds and how weights were initialised are left out: the model computes the same without them.
    """
    with warnings.catch_warnings():
        # Keras warns of each lambda.
        warnings.simplefilter("ignore")
        configs = {
            f"{place} {type(layer).__name__}": layer.get_config() for place, layer in enumerate(layers_of(model))
        }
    return as_structure(configs)


def as_structure(parts: dict[str, Any]) -> dict[str, Any]:
    """Give parts as JSON has them, without names, seeds and initialisers; of an object, its class alone."""
    structure: dict[str, Any] = json.loads(
        json.dumps(parts, default=lambda value: type(value).__name__), object_hook=_computing, parse_constant=str
    )
    return structure


def structure_of(model: keras.Model) -> str | None:
    """Describe a model so that equal descriptions mean equal functions of the weights, in their order.

    Returns:
      None if a part of the model may hide something: parts whose classes are neither Keras' nor this package's,
      functions, and changed methods.
    """
    described = describe_layers(model)
    return json.dumps(described) if all_known(described, *layers_of(model)) else None


def all_known(described: Any, *parts: Any) -> bool:
    """Tell whether a description says all of its parts: no class or function in it is unknown, no method changed."""
    return all(map(_is_known, parts)) and all(map(_is_known_module, _serialized(described)))


def nested_dataclasses(settings: Any) -> Iterator[Any]:
    """Yield a dataclass and those in its fields."""
    if dataclasses.is_dataclass(settings):
        yield settings
        for field in dataclasses.fields(settings):
            yield from nested_dataclasses(getattr(settings, field.name))


def pattern_of(variables: Sequence[Any]) -> str:
    """Describe variables by type, and by which of them are the same variable."""
    places: dict[int, int] = {}
    return str(
        [
            (tuple(each.shape), str(each.dtype), bool(each.trainable), places.setdefault(id(each), place))
            for place, each in enumerate(variables)
        ]
    )


def keep(kept: dict[Any, Any], key: Any, value: Any) -> None:
    """Keep what was made for a structure; the oldest of too many is forgotten."""
    if len(kept) == _LARGEST:
        del kept[next(iter(kept))]
    kept[key] = value


def _computing(found: dict[str, Any]) -> dict[str, Any]:
    # The lone name is a dtype policy's.
    other = ("name", "seed", "shared_object_id")
    kept = found if len(found) == 1 else {key: found[key] for key in found if key not in other}
    return {key: kept[key] for key in kept if not key.endswith("initializer")}


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

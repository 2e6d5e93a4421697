"""Describe the structure of a model as JSON; models of equal structure share traced and converted functions."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from tf_trpo.ranges import plain

_KNOWN = ("keras", "tf_trpo")
"""Packages whose classes are fully described by their configs."""
_LARGEST = 32
"""Maximum number of traced or converted models of one kind that are kept."""


def layers_of(model: keras.Model) -> list[keras.layers.Layer]:
    """Return a model and all layers inside it."""
    return list(model._flatten_layers())


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Give a model the weights of another model of the same structure."""
    target.set_weights(source.get_weights())
    for layer in layers_of(target):
        if isinstance(layer, keras.layers.Normalization):
            # Its calls use numbers that are computed from its weights here.
            layer.finalize_state()


def classes_of(model: keras.Layer) -> dict[str, type]:
    """Return the classes of a layer and of all layers inside it by name, as Keras needs them to make it again."""
    classes = map(type, layers_of(model))
    return {name: each for each in classes for name in (each.__name__, keras.saving.get_registered_name(each))}


def functions_of(model: keras.Layer) -> dict[str, types.FunctionType]:
    """Return the functions that layers have as attributes, such as activations, by name."""
    attributes = (value for layer in layers_of(model) for value in vars(layer).values())
    return {each.__name__: each for each in attributes if isinstance(each, types.FunctionType)}


def check_unregularized(name: str, model: keras.Model) -> None:
    """Raise ValueError, with the model's name, if a weight or layer of a model has a regularizer or a constraint."""
    found = {weight.path: weight.regularizer or weight.constraint for weight in model.weights}
    found |= {layer.name: layer.activity_regularizer for layer in layers_of(model)}
    for where, each in found.items():
        if each is not None:
            raise ValueError(f"{name} must have no {type(each).__name__}, which training would ignore: {where} has one")


def describe_layers(model: keras.Model) -> dict[str, Any]:
    """Return the configs of a model and of all its layers as JSON values.

    Names, seeds and initialisers are left out, since the model's computation does not depend on them.
    """
    with warnings.catch_warnings():
        # Keras warns about each lambda.
        warnings.simplefilter("ignore")
        configs = {
            f"{place} {type(layer).__name__}": layer.get_config() for place, layer in enumerate(layers_of(model))
        }
    return as_structure(configs)


def as_structure(parts: dict[str, Any]) -> dict[str, Any]:
    """Convert parts to JSON values without names, seeds and initialisers; an object becomes the name of its class."""
    text = json.dumps(parts, default=lambda value: value_of_numpy(value, type(value).__name__))
    structure: dict[str, Any] = json.loads(text, object_hook=_computing, parse_constant=str)
    return structure


def value_of_numpy(value: object, otherwise: Any) -> Any:
    """Return JSON that tells NumPy's numbers and arrays apart by their values; for other objects, `otherwise`."""
    if isinstance(value, np.ndarray):
        content = repr(value.tolist()).encode() if value.dtype.hasobject else value.tobytes()
        return f"{value.dtype} {value.shape} of SHA-256 {hashlib.sha256(content).hexdigest()}"
    return plain(value) if isinstance(value, np.generic) and plain(value) is not value else otherwise


def structure_of(model: keras.Model) -> str | None:
    """Describe a model such that models with equal descriptions compute the same function of their ordered weights.

    Returns:
      The description; None if it may be incomplete, because the model has parts of classes that are neither Keras' nor
      this package's, functions, or replaced methods.
    """
    described = describe_layers(model)
    return json.dumps(described) if all_known(described, *layers_of(model)) else None


def all_known(described: Any, *parts: Any) -> bool:
    """Return whether a description is complete: it has no unknown class or function, and no method is replaced."""
    return all(map(_is_known, parts)) and all(map(_is_known_module, _serialized(described)))


def nested_dataclasses(settings: Any) -> Iterator[Any]:
    """Yield a dataclass instance and all dataclass instances nested in its fields."""
    if dataclasses.is_dataclass(settings):
        yield settings
        for field in dataclasses.fields(settings):
            yield from nested_dataclasses(getattr(settings, field.name))


def pattern_of(variables: Sequence[Any]) -> str:
    """Describe variables by shape, dtype and trainability, and by which of them are the same object."""
    places: dict[int, int] = {}
    return str(
        [
            (tuple(each.shape), str(each.dtype), bool(each.trainable), places.setdefault(id(each), place))
            for place, each in enumerate(variables)
        ]
    )


def keep(kept: dict[Any, Any], key: Any, value: Any) -> None:
    """Add an entry to a cache; if the cache is full, remove its oldest entry."""
    if len(kept) == _LARGEST:
        del kept[next(iter(kept))]
    kept[key] = value


def _computing(found: dict[str, Any]) -> dict[str, Any]:
    # A dict with a name only is a dtype policy, whose name matters.
    other = ("name", "seed", "shared_object_id")
    kept = found if len(found) == 1 else {key: found[key] for key in found if key not in other}
    return {key: kept[key] for key in kept if not key.endswith("initializer")}


def _is_known(part: Any) -> bool:
    """Return whether a part's class is of Keras or of this package, and no method of the object is replaced."""
    # Keras itself replaces `build` and `quantize`, and `loss` is an attribute of a model.
    own = set(vars(part)) - {"build", "quantize", "loss"}
    changed = any(callable(getattr(type(part), name, None)) for name in own)
    functions = [value for value in vars(part).values() if isinstance(value, types.FunctionType)]
    return not changed and all(each.__module__.split(".")[0] in _KNOWN for each in [type(part), *functions])


def _serialized(described: Any) -> Iterator[dict[str, Any]]:
    """Yield all serialized objects in a description."""
    inner = described.values() if isinstance(described, dict) else described if isinstance(described, list) else ()
    for value in inner:
        yield from _serialized(value)
    if isinstance(described, dict) and "class_name" in described:
        yield described


def _is_known_module(serialized: dict[str, Any]) -> bool:
    return serialized["class_name"] == "__keras_tensor__" or str(serialized.get("module")).split(".")[0] in _KNOWN

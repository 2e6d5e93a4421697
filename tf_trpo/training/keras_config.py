"""Check of an agent's config.json: it may name only loaded, harmless parts of Keras and registered classes.

Keras makes the objects that config.json names. It looks them up in this process first, and then imports modules of its
own; some of its classes read files, open network addresses or run code from their settings. So each name is looked up
here, before Keras sees it, without importing anything.
"""

from __future__ import annotations

import dataclasses
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import keras

from tf_trpo.learning.settings import UpdateSettings
from tf_trpo.optimizers import ALGORITHMS
from tf_trpo.ranges import field_types

_DEEPEST = 100
"""Largest nesting of lists and mappings; a network of networks needs about 15."""
_LARGEST_INTEGER = 2**24
"""Largest size: even a layer without variables may allocate an array of a size from its settings."""
_NO_SIZES = {"seed", "decay_steps", "first_decay_steps", "warmup_steps", "boundaries", "shared_object_id"}
_NO_SIZES |= {"first_action", "first_actions", "start"}
"""Settings whose integers are not sizes of arrays: seeds, steps of learning rate schedules, ids of objects, and offsets
of discrete actions and observations. In addition, all settings of an update: their classes check their ranges."""

_CLASSES: dict[str, tuple[type, ...]] = {
    "keras": (keras.Model, keras.DTypePolicy),
    "keras.layers": (keras.Layer,),
    "keras.models": (keras.Model,),
    "keras.initializers": (keras.initializers.Initializer,),
    "keras.regularizers": (keras.regularizers.Regularizer,),
    "keras.constraints": (keras.constraints.Constraint,),
    "keras.optimizers": (keras.optimizers.Optimizer,),
    "keras.optimizers.schedules": (keras.optimizers.schedules.LearningRateSchedule,),
    "keras.losses": (keras.losses.Loss,),
    "keras.metrics": (keras.metrics.Metric,),
    "keras.dtype_policies": (keras.DTypePolicy,),
    # Models and operations without a public name.
    "keras.src.models.functional": (keras.Model,),
    "keras.src.ops": (keras.Operation,),
}
"""Keras modules, and the base classes of what may be made from each; keras.src.ops stands for all its submodules."""
_FUNCTIONS = ("keras.activations", "keras.ops", "keras.losses", "keras.metrics")
_NEVER = (
    # Run code that is in, or named by, their settings.
    keras.layers.Lambda,
    keras.layers.JaxLayer,
    keras.layers.TorchModuleWrapper,
    keras.layers.TFSMLayer,
    # Read files or network addresses.
    keras.layers.StringLookup,
    keras.layers.IntegerLookup,
    keras.layers.TextVectorization,
)
_ARRAYS = {"__tensor__", "__numpy__"}
_PLAIN = {"__keras_tensor__", "__bytes__", "__ellipsis__", "__slice__"} | _ARRAYS
"""Class names that stand for values."""
_DTYPES = {"bool", "bfloat16", "float16", "float32", "float64"}
_DTYPES |= {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}


def _names(settings: Any) -> Iterator[str]:
    """Yield the names of the fields of a settings class and of all settings classes in their types."""
    for name, hint in field_types(settings).items():
        yield name
        for each in filter(dataclasses.is_dataclass, (hint, *get_args(hint))):
            yield from _names(each)


_NO_SIZES |= {name for settings in (UpdateSettings, *ALGORITHMS.values()) for name in _names(settings)}


def check_config(config: Any, custom_objects: Mapping[str, Any], root: type) -> None:
    """Raise unless a config.json names only harmless parts of Keras and registered classes and functions.

    Args:
      config: the parsed file.
      custom_objects: classes and functions by name that are allowed in addition to the registered ones.
      root: class of the object that the file must hold.

    Raises:
      ValueError: the file names something else; the message says what, where, and how to allow it.
    """
    for where, setting, value in _parts(config):
        if isinstance(value, int) and abs(value) > _LARGEST_INTEGER and setting not in _NO_SIZES:
            raise ValueError(f"{where} is an integer beyond {_LARGEST_INTEGER}")
        if isinstance(value, dict) and "class_name" in value:
            _check_object(value, where, custom_objects)
    found = _found(config, custom_objects) if isinstance(config, dict) else None
    if not isinstance(found, type) or not issubclass(found, root):
        name = config.get("class_name") if isinstance(config, dict) else type(config).__name__
        raise ValueError(f"it holds a {name}, not a {root.__name__} agent")


def _parts(config: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield the path, the setting's name and the value of everything in the file; refuse nesting too deep for Keras."""
    waiting = [("config.json", "", config, 0)]
    while waiting:
        where, setting, value, depth = waiting.pop()
        if depth > _DEEPEST:
            raise ValueError(f"config.json is nested more than {_DEEPEST} levels deep")
        yield where, setting, value
        if isinstance(value, dict):
            waiting += [(f"{where}/{name}"[-200:], name, part, depth + 1) for name, part in value.items()]
        elif isinstance(value, list):
            waiting += [(f"{where}/{position}"[-200:], setting, part, depth + 1) for position, part in enumerate(value)]


def _check_object(node: dict[str, Any], where: str, custom_objects: Mapping[str, Any]) -> None:
    name: Any = node["class_name"]
    settings: Any = node.get("config")
    if not isinstance(name, str):
        raise ValueError(f"{where} has a class_name that is not text")
    if name != "function" and not isinstance(settings, dict):
        raise ValueError(f"{where} names {name!r} without a config, as Keras 3 writes it")
    if name in _PLAIN:
        if name in _ARRAYS and settings.get("dtype") not in _DTYPES:
            raise ValueError(f"{where} is an array of another type than numbers")
        return
    # Without a module, Keras uses an older lookup that finds classes differently.
    if "module" not in node:
        raise ValueError(f"{where} names {name!r} without a module, as Keras 3 writes it")
    found = _found(node, custom_objects)
    if found is None:
        named = f"{node['module']}.{settings if name == 'function' else name}"[:200]
        raise ValueError(
            f"{where} names {named}, which is neither a harmless part of Keras nor registered here: if you trust the "
            "file, import the module that registers it (keras.saving.register_keras_serializable), or pass it by "
            "tf_trpo.load(path, custom_objects={...})"
        )
    # Keras broadcasts these to the shape of the layer's input, however large, in arrays that are not variables.
    if found is keras.layers.Normalization and (settings.get("mean"), settings.get("variance")) != (None, None):
        raise ValueError(f"{where} is a Normalization whose mean or variance is a setting: adapt it to data instead")


def _found(node: dict[str, Any], custom_objects: Mapping[str, Any]) -> Any:
    """Return what Keras would find by a node's names, in Keras' order; None if that is not allowed."""
    is_function = node.get("class_name") == "function"
    name, module = node.get("config" if is_function else "class_name"), node.get("module")
    known = name if is_function else node.get("registered_name", name)
    if isinstance(known, str):
        registered = keras.saving.get_registered_object(known, custom_objects=dict(custom_objects))
        if registered is not None:
            return registered
    if not isinstance(name, str) or not isinstance(module, str):
        return None
    return _function(name, module) if is_function else _class(name, module)


def _function(name: str, module: str) -> types.FunctionType | None:
    found = [vars(sys.modules[place]).get(name) for place in _FUNCTIONS if module in (place, "builtins")]
    return next((function for function in found if isinstance(function, types.FunctionType)), None)


def _class(name: str, module: str) -> type | None:
    kinds = _CLASSES.get("keras.src.ops" if module.startswith("keras.src.ops.") else module, ())
    # Modules that are not imported yet are not found.
    found = vars(sys.modules.get(module, types)).get(name)
    return found if isinstance(found, type) and issubclass(found, kinds) and not issubclass(found, _NEVER) else None

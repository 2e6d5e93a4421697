"""What an agent's config.json may name: only what is here already, and runs, reads and imports nothing when made.

Keras makes the objects that config.json names. It looks them up in this process first, and then imports modules of its
own; some of its classes read files, call addresses or run code that their settings hold. So each name is looked up
here, before Keras sees it, without importing anything.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

import keras

_DEEPEST = 100
"""Lists and mappings in each other; a network of networks needs about 15."""
_LARGEST_INTEGER = 2**24
"""Of sizes: a layer that has no variables may still allocate an array of one."""
_NO_SIZES = {"seed", "decay_steps", "first_decay_steps", "warmup_steps", "boundaries", "shared_object_id"}
_NO_SIZES |= {"first_action", "first_actions", "start"}
_NO_SIZES |= {"value_minibatch_size", "penalty_minibatch_size", "chunk_size"}
"""Settings whose integers are no sizes of arrays: seeds, steps of learning rate schedules, names of objects, first
numbers of actions and observations, and most samples at once."""

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
    # Models and operations that Keras gives no public name.
    "keras.src.models.functional": (keras.Model,),
    "keras.src.ops": (keras.Operation,),
}
"""Places of Keras, and what may be made of the classes there; of keras.src.ops, in all modules of the package."""
_FUNCTIONS = ("keras.activations", "keras.ops", "keras.losses", "keras.metrics")
_NEVER = (
    # Run code that their settings hold, or name.
    keras.layers.Lambda,
    keras.layers.JaxLayer,
    keras.layers.TorchModuleWrapper,
    keras.layers.TFSMLayer,
    # Read files, or addresses.
    keras.layers.StringLookup,
    keras.layers.IntegerLookup,
    keras.layers.TextVectorization,
)
_ARRAYS = {"__tensor__", "__numpy__"}
_PLAIN = {"__keras_tensor__", "__bytes__", "__ellipsis__", "__slice__"} | _ARRAYS
"""Names that stand for values and not for classes."""
_DTYPES = {"bool", "bfloat16", "float16", "float32", "float64"}
_DTYPES |= {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}


def check_config(config: Any, custom_objects: Mapping[str, Any], root: type) -> None:
    """Refuse a config.json that names anything else than harmless parts of Keras and what is registered.

    Args:
      config: the parsed file.
      custom_objects: classes and functions by name that are allowed besides the registered ones.
      root: class of the object that the file must hold.

    Raises:
      ValueError: it does, in one line that names what, where, and what to do.
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
    """Give every value in the file, its place, and the last name in it; refuse nesting that Keras cannot follow."""
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
        raise ValueError(f"{where} has a class_name that is no text")
    if name != "function" and not isinstance(settings, dict):
        raise ValueError(f"{where} names {name!r} without a config, as Keras 3 writes it")
    if name in _PLAIN:
        if name in _ARRAYS and settings.get("dtype") not in _DTYPES:
            raise ValueError(f"{where} is an array of another type than numbers")
        return
    # Without a module, Keras takes an older way that looks the class up otherwise.
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
    # Keras broadcasts these to the layer's input, however large, as arrays that no variable counts.
    if found is keras.layers.Normalization and (settings.get("mean"), settings.get("variance")) != (None, None):
        raise ValueError(f"{where} is a Normalization whose mean or variance is a setting: adapt it to data instead")


def _found(node: dict[str, Any], custom_objects: Mapping[str, Any]) -> Any:
    """Give what Keras would find by the names of a node, in Keras' order; None if that is not allowed."""
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
    # What nobody has imported yet is not there.
    found = vars(sys.modules.get(module, types)).get(name)
    return found if isinstance(found, type) and issubclass(found, kinds) and not issubclass(found, _NEVER) else None

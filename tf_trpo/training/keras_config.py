"""What an agent's config.json may name: only what is here already, and runs, reads and imports nothing when made.

Keras makes the objects that config.json names. It looks them up in this process first, and then imports modules of its
own; some of its classes read files, call addresses or run code that their settings hold. So each name is looked up
here, before Keras sees it, without importing anything.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras

LARGEST_DEPTH = 100
"""Of lists and mappings in each other; a network of networks needs about 15."""
LARGEST_INTEGER = 2**24
"""Of sizes: a layer that has no variables may still allocate an array of one."""
_NO_SIZES = frozenset(("seed", "decay_steps", "first_decay_steps", "warmup_steps", "boundaries", "shared_object_id"))
"""Settings of Keras whose integers are no sizes: seeds, steps of learning rate schedules, names of objects."""

_CLASSES_IN = frozenset(
    {
        "keras",
        "keras.layers",
        "keras.models",
        "keras.initializers",
        "keras.regularizers",
        "keras.constraints",
        "keras.optimizers",
        "keras.optimizers.schedules",
        "keras.losses",
        "keras.metrics",
        "keras.dtype_policies",
    }
)
_KINDS = (
    keras.Operation,
    keras.initializers.Initializer,
    keras.regularizers.Regularizer,
    keras.constraints.Constraint,
    keras.optimizers.Optimizer,
    keras.optimizers.schedules.LearningRateSchedule,
    keras.losses.Loss,
    keras.metrics.Metric,
    keras.dtype_policies.DTypePolicy,
)
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
    keras.utils.FeatureSpace,
)
_FUNCTIONS_IN = ("keras.activations", "keras.ops", "keras.losses", "keras.metrics")
_OF_OPERATIONS = "keras.src.ops."
_FUNCTIONAL = "keras.src.models.functional"
_PLAIN = frozenset({"__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__"})
_DTYPES = frozenset(
    ["bool", "bfloat16"]
    + [f"float{bits}" for bits in (16, 32, 64)]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
)


def check_config(config: Any, custom_objects: Mapping[str, Any], root: type) -> None:
    """Refuse a config.json that names anything else than Keras' harmless classes and what is registered.

    Args:
      config: the parsed file.
      custom_objects: classes and functions by name that are allowed besides the registered ones.
      root: class of the object that the file must hold.

    Raises:
      ValueError: it does, in one line that names what, where, and what to do.
    """
    for where, node in _mappings(config):
        if "class_name" in node:
            _check_node(node, where, custom_objects)
    found = _named(config, custom_objects) if isinstance(config, dict) else None
    if not isinstance(found, type) or not issubclass(found, root):
        name = config.get("class_name") if isinstance(config, dict) else type(config).__name__
        raise ValueError(f"it holds a {name}, not a {root.__name__} agent")


def _mappings(config: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping and its place, without recursion; no deeper than Keras can follow, and no integer too large."""
    waiting = [("config.json", "", config, 0)]
    while waiting:
        where, setting, value, depth = waiting.pop()
        if depth > LARGEST_DEPTH:
            raise ValueError(f"config.json is nested more than {LARGEST_DEPTH} levels deep")
        if isinstance(value, dict):
            yield where, value
            waiting += [(f"{where}/{name}"[-200:], name, part, depth + 1) for name, part in value.items()]
        elif isinstance(value, list):
            waiting += [(f"{where}/{i}"[-200:], setting, part, depth + 1) for i, part in enumerate(value)]
        elif isinstance(value, int) and abs(value) > LARGEST_INTEGER and setting not in _NO_SIZES:
            raise ValueError(f"{where} is an integer beyond {LARGEST_INTEGER}")


def _check_node(node: dict[str, Any], where: str, custom_objects: Mapping[str, Any]) -> None:
    name = node["class_name"]
    if not isinstance(name, str):
        raise ValueError(f"{where} has a class_name that is no text")
    if name in _PLAIN:
        _check_plain(node, where)
        return
    # Without a module, Keras takes an older way that looks the class up otherwise.
    if "module" not in node or "config" not in node:
        raise ValueError(f"{where} names {name!r} without a module or config, as Keras 3 writes them")
    found = _named(node, custom_objects)
    if found is keras.layers.Normalization and _has_statistics(node["config"]):
        raise ValueError(f"{where} is a Normalization whose mean or variance is a setting: adapt it to data instead")
    if found is None:
        named = f"{node['module']}.{node['config'] if name == 'function' else name}"[:200]
        raise ValueError(
            f"{where} names {named}, which is neither a harmless part of Keras nor registered here: if you trust the "
            "file, import the module that registers it (keras.saving.register_keras_serializable), or pass it by "
            "tf_trpo.load(path, custom_objects={...})"
        )


def _has_statistics(config: Any) -> bool:
    # Keras broadcasts them to the layer's input, however large, as arrays that no variable counts.
    return not isinstance(config, dict) or any(config.get(name) is not None for name in ("mean", "variance"))


def _check_plain(node: dict[str, Any], where: str) -> None:
    config = node.get("config")
    if node["class_name"] in ("__tensor__", "__numpy__") and (
        not isinstance(config, dict) or config.get("dtype") not in _DTYPES
    ):
        raise ValueError(f"{where} is an array of another type than numbers")


def _named(node: dict[str, Any], custom_objects: Mapping[str, Any]) -> Any:
    """What Keras would find by a node's names, in its order; None unless it is allowed."""
    name, module = node.get("class_name"), node.get("module")
    if name == "function":
        return _function(node.get("config"), module, custom_objects)
    known = _registered(node.get("registered_name", name), custom_objects)
    if known is not None:
        return known
    found = _class(name, module) if isinstance(name, str) and isinstance(module, str) else None
    harmless = isinstance(found, type) and issubclass(found, _KINDS) and not issubclass(found, _NEVER)
    return found if harmless else None


def _registered(name: Any, custom_objects: Mapping[str, Any]) -> Any:
    if not isinstance(name, str):
        return None
    return keras.saving.get_registered_object(name, custom_objects=dict(custom_objects))


def _class(name: str, module: str) -> Any:
    if module in _CLASSES_IN:
        return vars(sys.modules[module]).get(name)
    # Where Keras has no public name for it. What nobody has imported yet is not there.
    if module.startswith(_OF_OPERATIONS) or (module == _FUNCTIONAL and name == "Functional"):
        return vars(sys.modules.get(module, types)).get(name)
    return None


def _function(name: Any, module: Any, custom_objects: Mapping[str, Any]) -> Callable[..., Any] | None:
    if not isinstance(name, str):
        return None
    known = _registered(name, custom_objects)
    if known is not None:
        return known
    places = _FUNCTIONS_IN if module == "builtins" else [place for place in _FUNCTIONS_IN if place == module]
    found = [vars(sys.modules[place]).get(name) for place in places]
    return next((function for function in found if isinstance(function, types.FunctionType)), None)

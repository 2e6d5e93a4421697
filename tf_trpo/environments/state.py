"""The state of a vector environment as JSON and arrays, and back: what an exact resumption needs."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.vector import SyncVectorEnv, VectorEnv

from tf_trpo.environments.layers import NUMERIC, attributes, is_known, is_mujoco_data, layers, number_kind
from tf_trpo.environments.sync import BareSyncVectorEnv
from tf_trpo.environments.vector import unflattened

_OPTIONAL = {"steps_beyond_terminated": "int", "lastaction": "int", "last_u": "float"}
"""Numbers that are None between a reset and what sets them: an episode's end, a step; with their kinds."""


class EnvironmentState(NamedTuple):
    """The state of a vector environment.

    Attributes:
      plain: for JSON: for each environment and each layer of wrappers its class and its attributes; an attribute
        that JSON cannot hold is a mapping with one tag.
      arrays: what the tags "array", "scalar" and "mujoco" refer to; no objects among them.
    """

    plain: dict[str, Any]
    arrays: dict[str, np.ndarray]


def can_save_state(environments: VectorEnv) -> bool:
    """Whether `save_state` gives all that the environments' future depends on.

    That is so for Gymnasium's classic control, MuJoCo and toy text environments, stepped in this process, in those of
    Gymnasium's wrappers that keep nothing but plain attributes, as long as each attribute is of a kind that can be
    saved. A function given to a Transform wrapper may hold no object. Of others nobody knows where their state is.
    """
    vector = unflattened(environments)
    if not isinstance(vector, SyncVectorEnv) or type(vector) not in (SyncVectorEnv, BareSyncVectorEnv):
        return False
    return all(is_known(layer) for env in vector.envs for layer in layers(env))


def save_state(environments: VectorEnv) -> EnvironmentState:
    """Copy the state of environments for which `can_save_state`."""
    vector = _synchronous(environments)
    state = EnvironmentState({}, {"autoreset": vector._autoreset_envs.copy()})
    state.plain["environments"] = [
        [
            {
                "class": type(layer).__qualname__,
                "attributes": {
                    name: _encoded(value, f"{i}/{j}/{name}", state.arrays) for name, value in attributes(layer).items()
                },
            }
            for j, layer in enumerate(layers(env))
        ]
        for i, env in enumerate(vector.envs)
    ]
    return state


def load_state(environments: VectorEnv, state: EnvironmentState) -> None:
    """Set environments to a state.

    Only attributes that are there already, and hold numbers or nothing, are set: to a number of the same kind, to an
    array of the same shape and kind, to a list of numbers for one; to nothing only where that stands for "not yet".
    Text has to be what it is, since some says what to load, or how to render. A state from a stranger's file can make
    an episode go on oddly, and nothing else.

    Args:
      environments: made as those whose state it is, and reset.
      state: of `save_state`.

    Raises:
      ValueError: it is not the state of such environments.
    """
    vector = _synchronous(environments)
    try:
        autoreset = _numeric(state.arrays["autoreset"])
        if autoreset.shape != (vector.num_envs,) or autoreset.dtype != bool:
            raise ValueError(f"it is of {autoreset.size} environments, not {vector.num_envs}")
        for env, saved_layers in zip(vector.envs, state.plain["environments"], strict=True):
            for layer, saved in zip(layers(env), saved_layers, strict=True):
                _load_layer(layer, saved, state.arrays)
        vector._autoreset_envs = autoreset.copy()
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"the state is not one of these environments: {error}") from error


def _load_layer(layer: gym.Env, saved: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    if saved["class"] != type(layer).__qualname__:
        raise ValueError(f"it has a {saved['class']}, here is a {type(layer).__qualname__}")
    values = vars(layer)
    expected = attributes(layer).keys()
    if expected != saved["attributes"].keys():
        names = sorted(expected ^ saved["attributes"].keys())
        raise ValueError(f"{type(layer).__qualname__} differs in {', '.join(names)}")
    for name, value in saved["attributes"].items():
        current = values[name]
        if isinstance(current, np.random.Generator):
            current.bit_generator.state = value["generator"]
        elif is_mujoco_data(current):
            if value["mujoco"] != _mujoco_parts(current):
                raise ValueError("MuJoCo's data have other parts")
            for part in value["mujoco"]:
                _set_mujoco(current, part, _numeric(arrays[f"{value['at']}/{part}"]))
        else:
            new = _decoded(value, arrays)
            if not _may_replace(new, current, _OPTIONAL.get(name)):
                raise ValueError(f"{type(layer).__qualname__}.{name} cannot become that")
            values[name] = new


def _synchronous(environments: VectorEnv) -> SyncVectorEnv:
    if not can_save_state(environments):
        raise ValueError("the state of these environments cannot be saved")
    vector = unflattened(environments)
    assert isinstance(vector, SyncVectorEnv)
    return vector


def _encoded(value: Any, key: str, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, tuple):
        return {"tuple": [_encoded(part, f"{key}/{i}", arrays) for i, part in enumerate(value)]}
    if isinstance(value, list):
        return {"list": [_encoded(part, f"{key}/{i}", arrays) for i, part in enumerate(value)]}
    if isinstance(value, np.random.Generator):
        return {"generator": value.bit_generator.state}
    if isinstance(value, np.ndarray | np.generic):
        arrays[key] = np.array(value)
        return {"scalar" if isinstance(value, np.generic) else "array": key}
    if is_mujoco_data(value):
        parts = _mujoco_parts(value)
        arrays.update({f"{key}/{part}": np.array(getattr(value, part)) for part in parts})
        return {"mujoco": parts, "at": key}
    return value


def _decoded(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if not isinstance(value, dict):
        return value
    ((tag, content),) = value.items()
    if tag in ("tuple", "list"):
        parts = [_decoded(part, arrays) for part in content]
        return parts if tag == "list" else tuple(parts)
    if tag not in ("array", "scalar"):
        raise ValueError(f"an attribute is tagged {tag}")
    array = _numeric(arrays[content])
    return array.copy() if tag == "array" else array[()]


def _may_replace(new: Any, current: Any, optional: str | None = None) -> bool:
    """Whether an attribute may change so; `optional` is the kind of a number that may be None as well."""
    if new is None or current is None:
        return new is current or (optional is not None and optional in (number_kind(new), number_kind(current)))
    if isinstance(new, str) or isinstance(current, str):
        return type(new) is type(current) and new == current
    if isinstance(new, list) or isinstance(current, list):
        if type(new) is not type(current) or not new:
            return False
        kinds = {number_kind(part) for part in [*new, *current]}
        return len(kinds) == 1 and None not in kinds
    if isinstance(new, np.ndarray) and isinstance(current, np.ndarray):
        return new.shape == current.shape and new.dtype.kind == current.dtype.kind
    if _is_vector(new) and _is_vector(current):
        # Some environments have an array after a reset and a tuple after a step, with an integer zero among its floats.
        return len(new) == len(current) and (any(map(_is_float, current)) or not any(map(_is_float, new)))
    if isinstance(new, tuple) and isinstance(current, tuple):
        return len(new) == len(current) and all(map(_may_replace, new, current))
    return number_kind(new) is not None and number_kind(new) == number_kind(current)


def _is_float(value: Any) -> bool:
    return number_kind(value) == "float"


def _is_vector(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and value.dtype.kind in "iuf"
    return isinstance(value, tuple) and all(number_kind(part) in ("int", "float") for part in value)


def _numeric(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in NUMERIC:
        raise ValueError(f"an array of {array.dtype}")
    return array


def _mujoco_parts(data: Any) -> list[str]:
    """Attributes of fixed size; those of a step's constraints are found anew in the next, and empty in fresh data."""
    fresh = type(data)(data.model)
    values = {name: getattr(fresh, name) for name in dir(fresh) if not name.startswith("_")}
    return [name for name, value in values.items() if isinstance(value, float) or np.size(_array(value)) > 0]


def _array(value: Any) -> Any:
    return value if isinstance(value, np.ndarray) and value.dtype.kind in NUMERIC else ()


def _set_mujoco(data: Any, part: str, array: np.ndarray) -> None:
    current = getattr(data, part)
    if not isinstance(current, np.ndarray):
        setattr(data, part, array.item())
    elif current.shape != array.shape or current.dtype != array.dtype:
        raise ValueError(f"MuJoCo's {part} has shape {current.shape}, not {array.shape}")
    else:
        current[...] = array

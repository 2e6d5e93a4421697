"""The state of a vector environment as JSON and arrays, and back: what an exact resumption needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.vector import SyncVectorEnv, VectorEnv, VectorWrapper
from gymnasium.wrappers import PassiveEnvChecker

_EXACT = ("gymnasium.envs.classic_control.", "gymnasium.envs.mujoco.", "gymnasium.envs.toy_text.")
"""Where environments keep their whole state in plain attributes, in their generator and in MuJoCo's data."""
_WRAPPERS = ("gymnasium.wrappers.",)
_NUMERIC = "biuf"


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

    That is so for Gymnasium's classic control, MuJoCo and toy text environments in Gymnasium's own wrappers, stepped
    in this process. Of others nobody knows where they keep their state.
    """
    vector = _vector(environments)
    return isinstance(vector, SyncVectorEnv) and all(
        type(layer).__module__.startswith(_EXACT if layer is layer.unwrapped else _WRAPPERS)
        for env in vector.envs
        for layer in _layers(env)
    )


def save_state(environments: VectorEnv) -> EnvironmentState:
    """Copy the state of environments for which `can_save_state`."""
    vector = _synchronous(environments)
    state = EnvironmentState({}, {"autoreset": vector._autoreset_envs.copy()})
    state.plain["environments"] = [
        [
            {
                "class": type(layer).__qualname__,
                "attributes": {
                    name: _encoded(value, f"{i}/{j}/{name}", state.arrays)
                    for name, value in vars(layer).items()
                    if _is_state(value)
                },
            }
            for j, layer in enumerate(_layers(env))
        ]
        for i, env in enumerate(vector.envs)
    ]
    return state


def load_state(environments: VectorEnv, state: EnvironmentState) -> None:
    """Set environments to a state.

    Only attributes that are there already, and hold a number, an array or nothing, are set, and these only to numbers,
    arrays of the same shape or nothing; text has to be what it is, since some says what to load, or how to render. A
    state from a stranger's file can make an episode go on oddly, and nothing else.

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
            for layer, saved in zip(_layers(env), saved_layers, strict=True):
                _load_layer(layer, saved, state.arrays)
        vector._autoreset_envs = autoreset.copy()
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"the state is not one of these environments: {error}") from error


def _load_layer(layer: gym.Env, saved: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    if saved["class"] != type(layer).__qualname__:
        raise ValueError(f"it has a {saved['class']}, here is a {type(layer).__qualname__}")
    attributes = vars(layer)
    expected = {name for name, value in attributes.items() if _is_state(value)}
    if expected != set(saved["attributes"]):
        names = sorted(expected ^ set(saved["attributes"]))
        raise ValueError(f"{type(layer).__qualname__} differs in {', '.join(names)}")
    for name, value in saved["attributes"].items():
        current = attributes[name]
        if isinstance(current, np.random.Generator):
            current.bit_generator.state = value["generator"]
        elif _is_mujoco_data(current):
            if value["mujoco"] != _mujoco_parts(current):
                raise ValueError("MuJoCo's data have other parts")
            for part in value["mujoco"]:
                _set_mujoco(current, part, _numeric(arrays[f"{value['at']}/{part}"]))
        else:
            new = _decoded(value, arrays)
            if not _may_replace(new, current):
                raise ValueError(f"{type(layer).__qualname__}.{name} cannot become that")
            attributes[name] = new


def _vector(environments: VectorEnv) -> VectorEnv:
    while isinstance(environments, VectorWrapper):
        environments = environments.env
    return environments


def _synchronous(environments: VectorEnv) -> SyncVectorEnv:
    if not can_save_state(environments):
        raise ValueError("the state of these environments cannot be saved")
    vector = _vector(environments)
    assert isinstance(vector, SyncVectorEnv)
    return vector


def _layers(env: gym.Env) -> Iterator[gym.Env]:
    """The environment's wrappers, outermost first, and what they wrap; without those that only look on."""
    while env is not env.unwrapped:
        assert isinstance(env, gym.Wrapper)
        if not isinstance(env, PassiveEnvChecker):
            yield env
        env = env.env
    yield env


def _is_state(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_is_state(part) for part in value)
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind in _NUMERIC
    return value is None or isinstance(value, bool | int | float | str | np.random.Generator) or _is_mujoco_data(value)


def _is_mujoco_data(value: Any) -> bool:
    # By name, since MuJoCo is an extra.
    return type(value).__module__.startswith("mujoco") and type(value).__name__ == "MjData"


def _encoded(value: Any, key: str, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, tuple):
        return {"tuple": [_encoded(part, f"{key}/{i}", arrays) for i, part in enumerate(value)]}
    if isinstance(value, np.random.Generator):
        return {"generator": value.bit_generator.state}
    if isinstance(value, np.ndarray | np.generic):
        arrays[key] = np.array(value)
        return {"scalar" if isinstance(value, np.generic) else "array": key}
    if _is_mujoco_data(value):
        parts = _mujoco_parts(value)
        arrays.update({f"{key}/{part}": np.array(getattr(value, part)) for part in parts})
        return {"mujoco": parts, "at": key}
    return value


def _decoded(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if not isinstance(value, dict):
        return value
    ((tag, content),) = value.items()
    if tag == "tuple":
        return tuple(_decoded(part, arrays) for part in content)
    array = _numeric(arrays[content])
    return array.copy() if tag == "array" else array[()]


def _may_replace(new: Any, current: Any) -> bool:
    if isinstance(new, str) or isinstance(current, str):
        return type(new) is type(current) and new == current
    if isinstance(new, tuple) and isinstance(current, tuple):
        return len(new) == len(current) and all(map(_may_replace, new, current))
    if isinstance(new, np.ndarray) and isinstance(current, np.ndarray):
        return new.shape == current.shape and new.dtype == current.dtype
    return _is_state(new)


def _numeric(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in _NUMERIC:
        raise ValueError(f"an array of {array.dtype}")
    return array


def _mujoco_parts(data: Any) -> list[str]:
    """Attributes of fixed size; those of a step's constraints are found anew in the next, and empty in fresh data."""
    fresh = type(data)(data.model)
    values = {name: getattr(fresh, name) for name in dir(fresh) if not name.startswith("_")}
    return [name for name, value in values.items() if isinstance(value, float) or np.size(_array(value)) > 0]


def _array(value: Any) -> Any:
    return value if isinstance(value, np.ndarray) and value.dtype.kind in _NUMERIC else ()


def _set_mujoco(data: Any, part: str, array: np.ndarray) -> None:
    current = getattr(data, part)
    if not isinstance(current, np.ndarray):
        setattr(data, part, array.item())
    elif current.shape != array.shape or current.dtype != array.dtype:
        raise ValueError(f"MuJoCo's {part} has shape {current.shape}, not {array.shape}")
    else:
        current[...] = array

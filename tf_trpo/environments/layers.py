"""What the environments consist of whose state can be saved: layers of wrappers, and their attributes."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import wrappers

NUMERIC = "biuf"
"""Kinds of arrays that can be saved."""
_EXACT = ("gymnasium.envs.classic_control.", "gymnasium.envs.mujoco.", "gymnasium.envs.toy_text.")
"""Where environments keep their whole state in plain attributes, in their generator and in MuJoCo's data."""
_OF_A_FUNCTION = (wrappers.TransformAction, wrappers.TransformObservation, wrappers.TransformReward)
"""Their whole state is what their function remembers."""
_WRAPPERS = frozenset(
    {
        wrappers.TimeLimit,
        wrappers.OrderEnforcing,
        wrappers.PassiveEnvChecker,
        wrappers.ClipAction,
        wrappers.ClipReward,
        wrappers.DiscretizeAction,
        wrappers.DiscretizeObservation,
        wrappers.DtypeObservation,
        wrappers.FilterObservation,
        wrappers.FlattenObservation,
        wrappers.GrayscaleObservation,
        wrappers.RescaleAction,
        wrappers.RescaleObservation,
        wrappers.ReshapeObservation,
        wrappers.ResizeObservation,
        *_OF_A_FUNCTION,
    }
)
"""Gymnasium's wrappers without state, or with one in plain attributes. Others keep it in statistics and queues."""
_SPACES = frozenset(("action_space", "observation_space", "_action_space", "_observation_space", "dtype"))
_ARGUMENTS = frozenset(("env", "func", "filter_keys", "_saved_kwargs", "_ezpickle_args", "_ezpickle_kwargs", "spec"))
_TABLES = frozenset(("model", "observation_structure", "P", "desc", "locs", "bin_centers", "bin_edges", "metadata"))
_SCREENS = frozenset(("screen", "clock", "surf", "window", "window_surface", "mujoco_renderer", "locs_colors"))
_CARDS = frozenset(("dealer_top_card_suit", "dealer_top_card_value_str"))
_NOT_STATE = _SPACES | _ARGUMENTS | _TABLES | _SCREENS | _CARDS | frozenset(("_cached_spec", "_metadata"))
"""Attributes that are fixed when these environments and wrappers are made, or of which only pictures are made."""
_PICTURES = ("_img", "_imgs")


def layers(env: gym.Env) -> Iterator[gym.Env]:
    """The environment's wrappers, outermost first, and what they wrap; without those that only look on."""
    while env is not env.unwrapped:
        assert isinstance(env, gym.Wrapper)
        if type(env) is not wrappers.PassiveEnvChecker:
            yield env
        env = env.env
    yield env


def is_known(layer: gym.Env) -> bool:
    """Whether the whole state of a layer is in its `attributes`."""
    if layer is layer.unwrapped:
        known = type(layer).__module__.startswith(_EXACT)
    elif type(layer) in _OF_A_FUNCTION:
        known = _remembers_nothing(vars(layer)["func"])
    else:
        known = type(layer) in _WRAPPERS
    return known and all(map(is_state, attributes(layer).values()))


def _remembers_nothing(function: Any) -> bool:
    if isinstance(function, np.ufunc):
        return True
    if not isinstance(function, types.FunctionType):
        return False
    held = [cell.cell_contents for cell in function.__closure__ or ()]
    held += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    return all(value is None or isinstance(value, bool | int | float | str) for value in held)


def attributes(layer: gym.Env) -> dict[str, Any]:
    """What has to be saved of one layer."""
    return {
        name: value for name, value in vars(layer).items() if name not in _NOT_STATE and not name.endswith(_PICTURES)
    }


def is_state(value: Any) -> bool:
    """Whether an attribute's value can be saved; text is, to be compared."""
    if isinstance(value, tuple):
        return all(is_state(part) for part in value)
    if isinstance(value, list):
        # An empty one does not say what it is to hold.
        return bool(value) and all(number_kind(part) for part in value)
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind in NUMERIC
    return value is None or isinstance(value, bool | int | float | str | np.random.Generator) or is_mujoco_data(value)


def is_mujoco_data(value: Any) -> bool:
    """Whether it is all that changes in a simulation of MuJoCo."""
    # By name, since MuJoCo is an extra.
    return type(value).__module__.startswith("mujoco") and type(value).__name__ == "MjData"


def number_kind(value: Any) -> str | None:
    """Of a number, Python's or NumPy's; None of anything else."""
    if isinstance(value, bool | np.bool_):
        return "bool"
    if isinstance(value, int | np.integer):
        return "int"
    return "float" if isinstance(value, float | np.floating) else None

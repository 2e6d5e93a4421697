"""Describe action spaces as JSON, for the metadata of exported models and to compare spaces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


def describe_space(space: gym.Space) -> dict[str, Any]:
    """Describe an action space by its type and everything on which a policy depends; an unknown type by name only."""
    if isinstance(space, spaces.Discrete):
        return describe_discrete(int(space.n), int(space.start), space.dtype)
    if isinstance(space, spaces.MultiDiscrete):
        return {
            "type": "MultiDiscrete",
            "shape": list(space.shape),
            "nvec": space.nvec.ravel().tolist(),
            "start": space.start.ravel().tolist(),
            "dtype": str(space.dtype),
        }
    if isinstance(space, spaces.MultiBinary):
        return {"type": "MultiBinary", "shape": list(space.shape)}
    if isinstance(space, spaces.Box):
        return describe_box(space.low.ravel().tolist(), space.high.ravel().tolist(), space.shape, space.dtype)
    if isinstance(space, spaces.Dict):
        return {"type": "Dict", "spaces": {name: describe_space(part) for name, part in sorted(space.spaces.items())}}
    if isinstance(space, spaces.Tuple):
        return {"type": "Tuple", "spaces": [describe_space(part) for part in space.spaces]}
    return {"type": type(space).__name__}


def describe_discrete(size: int, start: int, dtype: Any) -> dict[str, Any]:
    """Describe a Discrete space."""
    return {"type": "Discrete", "n": size, "start": start, "dtype": str(np.dtype(dtype))}


def describe_box(low: Sequence[Any], high: Sequence[Any], shape: Sequence[int], dtype: Any) -> dict[str, Any]:
    """Describe a Box by its bounds in row-major order; infinite bounds, which JSON does not have, are None."""
    number = float if np.dtype(dtype).kind == "f" else int
    finite = [[number(bound) if math.isfinite(bound) else None for bound in bounds] for bounds in (low, high)]
    return {"type": "Box", "shape": list(shape), "dtype": str(np.dtype(dtype)), "low": finite[0], "high": finite[1]}


def difference(own: dict[str, Any], other: dict[str, Any], place: str = "") -> str | None:
    """Describe the first difference between an agent's action space and an environment's.

    Args:
      own: description of the agent's space, by `describe_space`.
      other: description of the environment's space.
      place: path to the part of a Dict or Tuple, ending with "/"; empty for the whole space.

    Returns:
      For example "arm/low[2]: the agent has -1.0, the environment -2.0"; None if there is no difference.
    """
    first = ("type", "shape", "dtype")
    for name in (*first, *sorted({*own, *other} - {*first, "spaces"})):
        mine, theirs = own.get(name), other.get(name)
        if mine != theirs:
            index = ""
            if isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
                place_of = next(i for i, pair in enumerate(zip(mine, theirs, strict=True)) if pair[0] != pair[1])
                index, mine, theirs = f"[{place_of}]", mine[place_of], theirs[place_of]
            return f"{place}{name}{index}: the agent has {mine}, the environment {theirs}"
    mine, theirs = (_parts(description.get("spaces", {})) for description in (own, other))
    if mine.keys() != theirs.keys():
        listed = [", ".join(map(str, parts)) for parts in (mine, theirs)]
        return f"{place}parts: the agent has {listed[0]}, the environment {listed[1]}"
    found = (difference(mine[name], theirs[name], f"{place}{name}/") for name in mine)
    return next((text for text in found if text is not None), None)


def _parts(described: Any) -> dict[Any, dict[str, Any]]:
    return described if isinstance(described, dict) else dict(enumerate(described))

"""Actions of a model, which may be anybody's, as an environment takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import gymnasium as gym

_CAST = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}
"""Kind of a space's type -> kinds of numbers that can become one of its actions."""


def fitting_actions(actions: Any, space: gym.Space) -> Any:
    """Give one action, as a nest of arrays [1, ...], the types of an environment's space.

    Raises:
      ValueError: it does not lie in the space.
    """
    typed = _typed(actions, space)
    if typed is None or not space.contains(_row(typed)):
        shown = " ".join(str(actions).split())
        raise ValueError(f"the model's action {shown} does not lie in the environment's {space}")
    return typed


def _typed(actions: Any, space: Any) -> Any:
    """Give actions the types of a space; None if they have another structure, or numbers that the types cannot hold."""
    parts = getattr(space, "spaces", None)
    if parts is not None:
        keys = sorted(parts) if isinstance(parts, dict) else range(len(parts))
        same = isinstance(actions, dict | tuple) and isinstance(actions, dict) == isinstance(parts, dict)
        if not same or (actions.keys() != parts.keys() if isinstance(parts, dict) else len(actions) != len(parts)):
            return None
        found = {key: _typed(actions[key], parts[key]) for key in keys}
        if any(part is None for part in found.values()):
            return None
        return found if isinstance(parts, dict) else tuple(found.values())
    if (
        not isinstance(actions, np.ndarray)
        or actions.shape[:1] != (1,)
        or actions.dtype.kind not in _CAST[space.dtype.kind]
    ):
        return None
    with np.errstate(over="ignore"):
        typed = actions.astype(space.dtype)
    return typed if space.dtype.kind == "f" or np.array_equal(typed, actions) else None


def _row(actions: Any) -> Any:
    if isinstance(actions, dict):
        return {name: _row(part) for name, part in actions.items()}
    # The dots make an array of a single action: Gymnasium warns if an action is a plain number.
    return tuple(map(_row, actions)) if isinstance(actions, tuple) else actions[0, ...]

"""Convert the actions of an exported model, which may come from another program, for an environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import gymnasium as gym

_CAST = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}
"""NumPy dtype kind of a space -> dtype kinds of actions that can be converted to it."""


def fitting_actions(actions: Any, space: gym.Space) -> Any:
    """Cast one action, a nest of arrays [1, ...], to the dtypes of an environment's action space.

    Raises:
      ValueError: the action does not lie in the space.
    """
    from gymnasium.vector.utils import batch_space

    from tf_trpo.spaces.specs import named, unnamed

    batch = batch_space(space, 1)
    structure = batch.sample()
    found, wanted = named("actions", actions), named("actions", structure)
    if found.keys() == wanted.keys():
        typed = {name: _typed(found[name], wanted[name].dtype) for name in found}
        if all(part is not None for part in typed.values()):
            nest = unnamed("actions", structure, typed)
            if batch.contains(nest):
                return nest
    raise ValueError(f"the action {' '.join(str(actions).split())} does not lie in the environment's {space}")


def _typed(numbers: np.ndarray, dtype: np.dtype) -> np.ndarray | None:
    """Cast numbers to a dtype; return None if the dtype cannot hold them. Floats may be rounded."""
    if numbers.dtype.kind not in _CAST[dtype.kind]:
        return None
    with np.errstate(over="ignore"):
        typed = numbers.astype(dtype)
    return typed if dtype.kind == "f" or np.array_equal(typed, numbers) else None

"""The policy optimizer's state among the agent's weights: Keras itself saves only what is Keras'."""

from __future__ import annotations

import warnings
from collections.abc import MutableMapping
from typing import Any

from tf_trpo.optimizers import PolicyOptimizer

_PREFIX = "policy_optimizer_"


def save_policy_optimizer(optimizer: PolicyOptimizer, store: MutableMapping[str, Any]) -> None:
    """Write the optimizer's variables to an agent's entry of a Keras weights file."""
    for position, variable in enumerate(optimizer.variables):
        store[f"{_PREFIX}{_kind(optimizer)}_{position}"] = variable.numpy()


def own_variables(store: MutableMapping[str, Any]) -> dict[str, Any]:
    """What an agent's entry of a weights file holds besides the policy optimizer's variables."""
    names = list(store.keys())
    return {name: store[name] for name in names if not name.startswith(_PREFIX)}


def load_policy_optimizer(optimizer: PolicyOptimizer, store: MutableMapping[str, Any]) -> None:
    """Read the optimizer's variables back.

    Weights may be loaded into an agent that goes on by another algorithm: as Keras does with its own
    optimizers, the state is then left as it is, with a warning.

    Args:
      optimizer: built.
      store: an agent's entry of a Keras weights file.
    """
    names = list(store.keys())
    saved = {name: _form(store[name]) for name in names if name.startswith(_PREFIX)}
    kind, variables = _kind(optimizer), optimizer.variables
    own = {f"{_PREFIX}{kind}_{position}": _form(variable.numpy()) for position, variable in enumerate(variables)}
    if saved != own:
        kinds = sorted({name.removeprefix(_PREFIX).rpartition("_")[0] for name in saved}) or ["none"]
        message = (
            f"the policy optimizer's state is not loaded: the file holds {len(saved)} variables of "
            f"{', '.join(kinds)}, and {kind} has {len(variables)}, or of other shapes or types"
        )
        warnings.warn(message, stacklevel=2)
        return
    for name, variable in zip(own, variables, strict=True):
        variable.assign(store[name])


def _form(array: Any) -> tuple[tuple[int, ...], str]:
    return tuple(array.shape), str(array.dtype)


def _kind(optimizer: PolicyOptimizer) -> str:
    """Its class, and that of the Keras optimizer whose state is part of its own."""
    inner = optimizer.get_config().get("optimizer")
    return type(optimizer).__name__ + (f"-{inner['class_name']}" if isinstance(inner, dict) else "")

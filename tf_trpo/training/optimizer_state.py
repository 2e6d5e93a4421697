"""The policy optimizer's state in a weights file of Keras, which knows no policy optimizers."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tf_trpo.training.agent import Agent

_STATE = "policy_optimizer_"
"""Begins the names of the policy optimizer's variables in a weights file."""


def optimizer_state(agent: Agent) -> dict[str, Any]:
    """Name the variables of an agent's policy optimizer by its class and their positions."""
    variables = agent.learner.variables()["policy optimizer"] if agent.compiled else []
    prefix = f"{_STATE}{type(agent.policy_optimizer).__name__}_" if agent.compiled else _STATE
    return {f"{prefix}{position}": variable for position, variable in enumerate(variables)}


def write_optimizer_state(agent: Agent, store: Any) -> None:
    """Write the state to a store of Keras'."""
    for name, variable in optimizer_state(agent).items():
        store[name] = variable.numpy()


def restored(store: Any, own: dict[str, Any]) -> dict[str, Any]:
    """Assign the state in a store to an optimizer's own variables by name, and give all else of the store.

    The state of another policy optimizer is left out, with a warning.
    """
    saved = {name: store[name] for name in store.keys()}  # noqa: SIM118 - the store is no dict
    state = {name: saved.pop(name) for name in list(saved) if name.startswith(_STATE)}
    if {name: state[name].shape for name in state} != {name: tuple(own[name].shape) for name in own}:
        warnings.warn("the policy optimizer's state is not loaded: it is of another one", stacklevel=3)
        return saved
    for name, variable in own.items():
        variable.assign(state[name])
    return saved

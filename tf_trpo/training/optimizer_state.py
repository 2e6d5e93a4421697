"""The policy optimizer's state in a Keras weights file; Keras itself does not know policy optimizers."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tf_trpo.training.agent import Agent

_STATE = "policy_optimizer_"
"""Prefix of the names of the policy optimizer's variables in a weights file."""


def optimizer_state(agent: Agent) -> dict[str, Any]:
    """Return the variables of an agent's policy optimizer; each name has the class and the variable's position."""
    variables = agent.learner.variables()["policy optimizer"] if agent.compiled else []
    prefix = f"{_STATE}{type(agent.policy_optimizer).__name__}_" if agent.compiled else _STATE
    return {f"{prefix}{position}": variable for position, variable in enumerate(variables)}


class StateNotLoadedWarning(UserWarning):
    """A file has the state of another policy optimizer than the agent's."""


def write_optimizer_state(agent: Agent, store: Any) -> None:
    """Write the state of an agent's policy optimizer to a Keras store."""
    for name, variable in optimizer_state(agent).items():
        store[name] = variable.numpy()


def restored(store: Any, own: dict[str, Any]) -> dict[str, Any]:
    """Assign the state in a store to an optimizer's variables by name, and return the rest of the store.

    The state of a different policy optimizer is skipped with a `StateNotLoadedWarning`.
    """
    saved = {name: store[name] for name in store.keys()}  # noqa: SIM118 - the store is no dict
    state = {name: saved.pop(name) for name in list(saved) if name.startswith(_STATE)}
    if {name: state[name].shape for name in state} != {name: tuple(own[name].shape) for name in own}:
        message = "the policy optimizer's state is not loaded: it belongs to another one"
        warnings.warn(message, StateNotLoadedWarning, stacklevel=3)
        return saved
    for name, variable in own.items():
        variable.assign(state[name])
    return saved

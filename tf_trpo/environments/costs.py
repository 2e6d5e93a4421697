"""Costs: numbers that an environment gives at each step in addition to the reward."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tf_trpo.environments.failures import importing
from tf_trpo.environments.reading import find_figure, number
from tf_trpo.ranges import require
from tf_trpo.spaces import WrongValueError

Cost = str | Callable[..., float]
"""Either the key of a number that the info of each step has (keys of nested infos are joined by "/"), or a function
cost(observation, action, reward, next_observation, info), or the function's name "module:function"."""
COSTS = "tf_trpo/costs"
"""Key of a step's info under which the costs are stored: float64 [C], or [B, C] for B environments."""


class Step(NamedTuple):
    """The arguments of a cost function."""

    observation: Any
    action: Any
    reward: float
    next_observation: Any
    info: Any


def cost_name(cost: Cost) -> str:
    """Return the name of a cost: its key in infos, or "module:function"."""
    return cost if isinstance(cost, str) else f"{cost.__module__}:{getattr(cost, '__qualname__', type(cost).__name__)}"


def cost_labels(costs: Sequence[Cost]) -> tuple[str, ...]:
    """Return the names of costs in logs; a function's name comes without its module.

    Raises:
      ValueError: a cost is neither a name nor a function, a name is empty, or two names are equal.
    """
    for cost in costs:
        require(isinstance(cost, str) or callable(cost), "costs", "names or functions", cost)
    labels = tuple(cost_name(cost).rpartition(":")[2] for cost in costs)
    require(all(labels) and len(set(labels)) == len(labels), "costs", "names that differ and are not empty", labels)
    return labels


def refuse_functions(costs: Sequence[Cost]) -> None:
    """Raise ValueError if a cost is a function, given as an object or by its name."""
    for cost in costs:
        if not isinstance(cost, str) or ":" in cost:
            raise ValueError(
                f"the cost {cost_labels([cost])[0]} is a function of a step, which environments that are stepped "
                "together do not take: name a key of their infos, or use the backend sync or async"
            )


def import_costs(costs: Sequence[Cost]) -> None:
    """Import the modules of cost functions that are given by name; raise ValueError if one cannot be imported."""
    for cost in costs:
        if isinstance(cost, str) and ":" in cost:
            with importing(f"the module of the cost {cost}"):
                importlib.import_module(cost.partition(":")[0])


def find_costs(costs: Sequence[Cost]) -> tuple[str | Callable[..., float], ...]:
    """Replace the names of cost functions by the functions; keys of infos stay as they are.

    No module is imported here, because a name may come from an agent's file, which is not trusted.

    Raises:
      ValueError: a module has not been imported, or has no such function; or as `cost_labels`.
    """
    cost_labels(costs)
    return tuple(_found(cost) if isinstance(cost, str) and ":" in cost else cost for cost in costs)


def _found(name: str) -> Callable[..., float]:
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    if found is None:
        raise ValueError(f"the module of the cost {name} has not been imported: import it before the agent is used")
    for part in path.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise ValueError(f"the cost {name}: the module has no such function")
    return found


def costs_of(costs: Sequence[str | Callable[..., float]], step: Step) -> np.ndarray:
    """Compute the costs of a step, float64 [C].

    Raises:
      WrongValueError: the info lacks a cost, or a cost is not a number.
    """
    return np.array([_cost_of(cost, step) for cost in costs], np.float64)


def _cost_of(cost: str | Callable[..., float], step: Step) -> float:
    if not isinstance(cost, str):
        try:
            return number(cost(*step))
        except WrongValueError as error:
            raise WrongValueError(f"a cost by {cost_name(cost)} {error}") from None
    try:
        value = find_figure(step.info, cost)
    except WrongValueError as error:
        raise WrongValueError(f"a cost by info[{cost!r}] {error}") from None
    # A missing cost is refused here; one that is not finite is refused later, with the rewards.
    if value is None:
        raise WrongValueError(f"an info without the key {cost!r}: each step must give this cost")
    return value

"""What learns the returns of the rewards, or of one cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras

from tf_trpo.models import RunningReturnScale, ValueFunction

if TYPE_CHECKING:
    from tf_trpo.training.trpo import TRPO


@dataclasses.dataclass(frozen=True, eq=False)
class Critic:
    """A value function, and what its targets are scaled and fitted by.

    Attributes:
      value_function: of the scaled returns.
      return_scale: running scale of the rewards, or of the cost.
      optimizer: a Keras optimizer, built on the value function.
    """

    value_function: ValueFunction
    return_scale: RunningReturnScale
    optimizer: keras.optimizers.Optimizer


def make_cost_optimizers(
    optimizer: keras.optimizers.Optimizer, value_functions: Sequence[ValueFunction]
) -> list[keras.optimizers.Optimizer]:
    """Make an optimizer like that of the rewards' value function for the value function of each cost."""
    made = [type(optimizer).from_config(optimizer.get_config()) for _ in value_functions]
    for each, value_function in zip(made, value_functions, strict=True):
        each.build(value_function.trainable_variables)
    return made


def critics_of(agent: TRPO, optimizers: Sequence[keras.optimizers.Optimizer]) -> list[Critic]:
    """List what learns the returns of the rewards, and of the costs, by an optimizer for each."""
    value_functions = [agent.value_function, *agent.cost_value_functions]
    scales = [agent.return_scale, *agent.cost_return_scales]
    return [*map(Critic, value_functions, scales, optimizers)]


def parts_of(critics: Sequence[Critic]) -> dict[str, list[keras.Variable]]:
    """Name the variables of critics by part; the first critic is that of the rewards."""
    parts: dict[str, list[keras.Variable]] = {}
    for place, critic in enumerate(critics):
        suffix = f" of cost {place}" if place else ""
        parts[f"value function{suffix}"] = list(critic.value_function.weights)
        parts[f"return scale{suffix}"] = list(critic.return_scale.weights)
        parts[f"value optimizer{suffix}"] = list(critic.optimizer.variables)
    return parts

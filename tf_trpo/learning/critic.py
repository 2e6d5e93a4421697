"""Critics: value functions of the rewards and costs, with their return scales and optimizers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras

from tf_trpo.models import RunningReturnScale, ValueFunction


@dataclasses.dataclass(frozen=True, eq=False)
class Critic:
    """A value function with the scale of its returns and its optimizer.

    Attributes:
      value_function: predicts the scaled returns.
      return_scale: running scale of the rewards, or of the cost.
      optimizer: a Keras optimizer, built on the value function.
    """

    value_function: ValueFunction
    return_scale: RunningReturnScale
    optimizer: keras.optimizers.Optimizer


def make_cost_optimizers(
    optimizer: keras.optimizers.Optimizer, value_functions: Sequence[ValueFunction]
) -> list[keras.optimizers.Optimizer]:
    """Make an optimizer for each cost's value function, with the config of the rewards' value optimizer."""
    made = [type(optimizer).from_config(optimizer.get_config()) for _ in value_functions]
    for each, value_function in zip(made, value_functions, strict=True):
        each.build(value_function.trainable_variables)
    return made


def parts_of(critics: Sequence[Critic]) -> dict[str, list[keras.Variable]]:
    """Return the variables of critics by the names of their parts; the first critic is that of the rewards."""
    parts: dict[str, list[keras.Variable]] = {}
    for place, critic in enumerate(critics):
        suffix = f" of cost {place}" if place else ""
        parts[f"value function{suffix}"] = list(critic.value_function.weights)
        parts[f"return scale{suffix}"] = list(critic.return_scale.weights)
        parts[f"value optimizer{suffix}"] = list(critic.optimizer.variables)
    return parts

"""Critics: value functions of the rewards and costs, with their return scales and the choice of their optimizers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras

from tf_trpo.learning.settings import UpdateSettings
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


def choose_value_optimizer(
    present: tuple[keras.optimizers.Optimizer, UpdateSettings] | None,
    given: keras.optimizers.Optimizer | str | None,
    update: UpdateSettings | None,
) -> tuple[keras.optimizers.Optimizer, UpdateSettings, float | None]:
    """Return the value optimizer and the update settings of an agent that is compiled, and the rate to set, if any.

    Args:
      present: optimizer and settings of an agent that was compiled before, else None.
      given, update: the new optimizer and settings, if any. A new optimizer keeps its own learning rate.

    Raises:
      ValueError: both a new optimizer and a rate are given, the settings change a rate that is a Keras schedule, or the
        optimizer scales the loss or averages the weights.
    """
    optimizer, settings = present or (keras.optimizers.Adam(1e-3), UpdateSettings())
    rate, settings = (None, settings) if update is None else (update.value_learning_rate, update)
    if given is not None:
        if rate is not None:
            raise ValueError("value_learning_rate sets the present value optimizer's rate: set the new one's rate")
        optimizer, settings = keras.optimizers.get(given), dataclasses.replace(settings, value_learning_rate=None)
    if is_scheduled(optimizer) and (settings.value_learning_rate_decay or rate is not None):
        name = f"value_learning_rate{'_decay' * settings.value_learning_rate_decay}"
        raise ValueError(f"{name} needs a value optimizer without a schedule of its own")
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) or optimizer.loss_scale_factor is not None:
        raise ValueError("value_optimizer must not scale the loss: networks compute in float32, which needs no scale")
    if optimizer.use_ema:
        # The weights change with the statistics of observations, too, and the average would not.
        raise ValueError("value_optimizer must have use_ema=False: the value function has no average")
    return optimizer, settings, rate


def is_scheduled(optimizer: keras.optimizers.Optimizer) -> bool:
    """Return whether an optimizer's learning rate is a Keras schedule instead of a variable."""
    return isinstance(optimizer._learning_rate, keras.optimizers.schedules.LearningRateSchedule)


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

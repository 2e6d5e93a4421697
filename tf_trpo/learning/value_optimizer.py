"""The choice of the value function's optimizer and its learning rate."""

from __future__ import annotations

import dataclasses

import keras

from tf_trpo.learning.settings import UpdateSettings


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
      ValueError: both a new optimizer and a rate are given, or the settings change a rate that is a Keras schedule.
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
    return optimizer, settings, rate


def is_scheduled(optimizer: keras.optimizers.Optimizer) -> bool:
    """Return whether an optimizer's learning rate is a Keras schedule instead of a variable."""
    return isinstance(optimizer._learning_rate, keras.optimizers.schedules.LearningRateSchedule)

"""Float settings as inputs of a compiled update, so that other values need no new trace or compilation."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tf_trpo.learning.settings import UpdateSettings
from tf_trpo.models.structure import all_known, nested_dataclasses
from tf_trpo.optimizers import PolicyOptimizer

_SHAPING = ("curvature_fraction",)
"""Float settings on which shapes depend."""


class Numbers:
    """The settings of an update, whose floats are stored in a variable.

    0 and 1 remain constants, because they may select another algorithm: no damping, no discount. All floats remain
    constants if one of the classes is not of this package, because its code may need Python floats.

    Args:
      settings: settings of the update.
      algorithm: the policy optimizer, whose settings may be nested dataclasses.

    Attributes:
      settings, algorithm: as given.
      variable: the numbers, float64 [K].
      structure: description of the settings without these numbers.
    """

    def __init__(self, settings: UpdateSettings, algorithm: PolicyOptimizer) -> None:
        values: list[float] = []

        def note(value: float) -> str:
            values.append(value)
            return "a number"

        self.settings, self.algorithm = settings, algorithm
        self._own = all_known([], *nested_dataclasses(settings), *nested_dataclasses(algorithm))
        self.structure = repr([_with_numbers(each, note) if self._own else each for each in (settings, algorithm)])
        self.variable = tf.Variable(values, dtype=tf.float64, trainable=False)

    def read(self) -> list[Any]:
        """Return settings and algorithm with float64 scalar tensors for the numbers, read from the variable."""
        if not self._own:
            return [self.settings, self.algorithm]
        numbers = iter(tf.unstack(self.variable.value()))
        return [_with_numbers(each, lambda _: next(numbers)) for each in (self.settings, self.algorithm)]


def _with_numbers(settings: Any, replace: Callable[[float], Any]) -> Any:
    """Copy settings, with each number that may vary replaced by replace(number)."""
    if not dataclasses.is_dataclass(settings):
        return settings
    copied = copy.copy(settings)
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        varies = isinstance(value, float) and value not in (0.0, 1.0) and field.name not in _SHAPING
        object.__setattr__(copied, field.name, replace(value) if varies else _with_numbers(value, replace))
    return copied

"""Settings that are floats, as inputs of a compiled update: for other values, nothing is traced or compiled again."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tf_trpo.models.structure import all_known, nested_dataclasses

_SHAPING = ("curvature_fraction",)
"""Numbers on which shapes depend."""


class Numbers:
    """Settings whose floats are in a variable.

    0 and 1 stay constants, since they may stand for another algorithm: no damping, no discount. All floats do if one
    of the classes is not of this package, because its code may take them for Python's.

    Args:
      *settings: dataclasses; floats of nested ones count.

    Attributes:
      variable: the numbers, float64 [K].
      structure: describes the settings without these numbers.
    """

    def __init__(self, *settings: Any) -> None:
        values: list[float] = []

        def note(value: float) -> str:
            values.append(value)
            return "a number"

        self._settings = settings
        self._own = all_known([], *itertools.chain.from_iterable(map(nested_dataclasses, settings)))
        self.structure = repr([_with_numbers(each, note) if self._own else each for each in settings])
        self.variable = tf.Variable(values, dtype=tf.float64, trainable=False)

    def read(self) -> list[Any]:
        """Give the settings with float64 scalars in the place of the numbers; in a trace, of the agent that runs it."""
        if not self._own:
            return list(self._settings)
        numbers = iter(tf.unstack(self.variable.value()))
        return [_with_numbers(each, lambda _: next(numbers)) for each in self._settings]


def _with_numbers(settings: Any, replace: Callable[[float], Any]) -> Any:
    """Copy settings, with replace(number) in the place of each number that may vary."""
    if not dataclasses.is_dataclass(settings):
        return settings
    copied = copy.copy(settings)
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        varies = isinstance(value, float) and value not in (0.0, 1.0) and field.name not in _SHAPING
        object.__setattr__(copied, field.name, replace(value) if varies else _with_numbers(value, replace))
    return copied

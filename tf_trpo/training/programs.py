"""Traced updates, which agents of equal structure share: XLA never gives the memory of a compiled program back."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_trpo.models.structure import keep, pattern_of

_kept: dict[Any, Program] = {}
"""For other agents."""


class Program:
    """A function that was traced once, and that runs on any variables of the same types, in the same order.

    Args:
      function: reads and assigns the variables.
      specs: of its arguments.
      variables: Keras' or TensorFlow's.
    """

    def __init__(self, function: Callable[..., Any], specs: Sequence[Any], variables: Sequence[Any]) -> None:
        self._function = tf.function(function, autograph=False).get_concrete_function(*specs)
        # TensorFlow refuses to run a function whose first variables are gone.
        self._variables = [_variable(given) for given in variables]
        places = {id(variable.handle): place for place, variable in enumerate(self._variables)}
        self._places = [places.get(id(tensor)) for tensor in self._function.captured_inputs]

    @property
    def knows_its_variables(self) -> bool:
        """Whether the function has no variables besides the given ones."""
        captured = zip(self._function.captured_inputs, self._places, strict=True)
        return not any(tensor.dtype == tf.resource and place is None for tensor, place in captured)

    def on(self, variables: Sequence[Any]) -> Callable[..., Any]:
        """Give the function on other variables."""
        captured = zip(self._function.captured_inputs, self._places, strict=True)
        # A copy has inputs of its own and shares all else.
        function = copy.copy(self._function)
        function.set_external_captures(
            [tensor if place is None else _variable(variables[place]).handle for tensor, place in captured]
        )
        return function


def program(
    function: Callable[..., Any], specs: Sequence[Any], variables: Sequence[Any], structure: Any = None
) -> Callable[..., Any]:
    """Give a function on its variables, traced now or, for the same structure and specs, before.

    Args:
      function, specs, variables: as for `Program`.
      structure: equal for functions that compute the same on their variables; None: as no other function.
    """
    if structure is None:
        return Program(function, specs, variables).on(variables)
    types = [(spec.shape, spec.dtype) for spec in tf.nest.flatten(specs)]
    key = structure, str(types), pattern_of(variables)
    if key not in _kept:
        made = Program(function, specs, variables)
        if not made.knows_its_variables:
            return made.on(variables)
        keep(_kept, key, made)
    return _kept[key].on(variables)


def _variable(given: Any) -> tf.Variable:
    return given.value if isinstance(given, keras.Variable) else given

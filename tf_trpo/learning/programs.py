"""Traced updates, which agents of equal structure share: XLA never frees the memory of a compiled program."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_trpo.learning.results import joined, separated
from tf_trpo.models.structure import keep, pattern_of

_kept: dict[Any, Program] = {}
"""Programs to be shared with other agents."""


class Program:
    """A function that is traced once and can run on any variables of the same types, in the same order.

    Args:
      function: reads and assigns the variables. Its first result is a nest of figures; the program returns them as
        float64 arrays, which are copied from their device in one transfer.
      specs: of its arguments.
      variables: of Keras or TensorFlow.
    """

    def __init__(self, function: Callable[..., Any], specs: Sequence[Any], variables: Sequence[Any]) -> None:
        def traced(*arguments: Any) -> tuple[Any, ...]:
            figures, *others = function(*arguments)
            self._figures = tf.nest.map_structure(
                lambda figure: None if figure is None else tf.TensorSpec.from_tensor(figure), figures
            )
            return joined(figures), *others

        self._function = tf.function(traced, autograph=False).get_concrete_function(*specs)
        # Kept because TensorFlow refuses to run a function whose first variables are deleted.
        self._variables = [_variable(given) for given in variables]
        places = {id(variable.handle): place for place, variable in enumerate(self._variables)}
        self._places = [places.get(id(tensor)) for tensor in self._function.captured_inputs]

    @property
    def knows_its_variables(self) -> bool:
        """Whether the function has no variables other than the given ones."""
        captured = zip(self._function.captured_inputs, self._places, strict=True)
        return not any(tensor.dtype == tf.resource and place is None for tensor, place in captured)

    def on(self, variables: Sequence[Any]) -> Callable[..., Any]:
        """Return the function on other variables."""
        captured = zip(self._function.captured_inputs, self._places, strict=True)
        # A copy has its own inputs and shares everything else.
        function = copy.copy(self._function)
        function.set_external_captures(
            [tensor if place is None else _variable(variables[place]).handle for tensor, place in captured]
        )

        def run(*arguments: Any) -> tuple[Any, ...]:
            vector, *others = function(*arguments)
            return separated(vector, self._figures), *others

        return run


def program(
    function: Callable[..., Any], specs: Sequence[Any], variables: Sequence[Any], structure: Any = None
) -> Callable[..., Any]:
    """Return a traced function on its variables; an earlier trace of the same structure and specs is reused.

    Args:
      function, specs, variables: as for `Program`.
      structure: equal for functions that compute the same on their variables; None: the trace is not shared.
    """
    if structure is None:
        return Program(function, specs, variables).on(variables)
    key = structure, key_of(specs), pattern_of(variables)
    if key not in _kept:
        made = Program(function, specs, variables)
        if not made.knows_its_variables:
            return made.on(variables)
        keep(_kept, key, made)
    return _kept[key].on(variables)


def key_of(specs: Any) -> str:
    """Describe the shapes and types in a nest of specs."""
    return str([(spec.shape, spec.dtype) for spec in tf.nest.flatten(specs)])


def _variable(given: Any) -> tf.Variable:
    return given.value if isinstance(given, keras.Variable) else given

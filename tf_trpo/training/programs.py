"""Traced updates, which agents of equal structure share: XLA never gives the memory of a compiled program back."""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

_LARGEST = 32
"""Programs that are kept for other agents."""
_kept: dict[Any, Program] = {}


class Program:
    """A function that was traced once, and that runs on any variables of the same types, in the same order.

    Args:
      function: reads and assigns the variables.
      specs: of its arguments.
      variables: Keras' or TensorFlow's.
    """

    def __init__(self, function: Callable[..., Any], specs: Sequence[Any], variables: Sequence[Any]) -> None:
        self._function = tf.function(function, autograph=False).get_concrete_function(*specs)
        self._specs = specs
        # TensorFlow refuses to run a function whose first variables are gone.
        self._variables = [_variable(given) for given in variables]
        places = {id(variable.handle): place for place, variable in enumerate(self._variables)}
        self._places = [places.get(id(tensor)) for tensor in self._function.captured_inputs]

    @property
    def knows_its_variables(self) -> bool:
        """Whether the function has no variables besides the given ones."""
        captured = zip(self._function.captured_inputs, self._places, strict=True)
        return not any(tensor.dtype == tf.resource and place is None for tensor, place in captured)

    def compile_ahead(self) -> None:
        """Let XLA compile in another thread, by a call on variables and arguments that are all 0.

        A call that comes before the compilation has ended waits for its end.
        """

        def compile_() -> None:
            variables = [tf.Variable(tf.zeros(variable.shape, variable.dtype)) for variable in self._variables]
            arguments = tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), list(self._specs))
            # What cannot be compiled is for the call that needs the result to say.
            with contextlib.suppress(tf.errors.OpError):
                self.on(variables)(*arguments)

        threading.Thread(target=compile_, name="compilation").start()

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
    function: Callable[..., Any],
    specs: Sequence[Any],
    variables: Sequence[Any],
    structure: Any = None,
    *,
    compile_ahead: bool = False,
) -> Callable[..., Any]:
    """Give a function on its variables, traced now or, for the same structure and specs, before.

    Args:
      function, specs, variables: as for `Program`.
      structure: equal for functions that compute the same on their variables; None: as no other function.
      compile_ahead: let XLA begin at once.
    """
    types = [(spec.shape, spec.dtype) for spec in tf.nest.flatten(specs)]
    key = structure, str(types), _pattern(variables)
    if structure is not None and key in _kept:
        return _kept[key].on(variables)
    made = Program(function, specs, variables)
    if made.knows_its_variables:
        if compile_ahead:
            made.compile_ahead()
        if structure is not None:
            if len(_kept) == _LARGEST:
                del _kept[next(iter(_kept))]
            _kept[key] = made
    return made.on(variables)


def _pattern(variables: Sequence[Any]) -> str:
    """Describe variables by type, and by which of them are the same variable."""
    places: dict[int, int] = {}
    return str(
        [
            (tuple(each.shape), str(each.dtype), bool(each.trainable), places.setdefault(id(each), place))
            for place, each in enumerate(variables)
        ]
    )


def _variable(given: Any) -> tf.Variable:
    return given.value if isinstance(given, keras.Variable) else given

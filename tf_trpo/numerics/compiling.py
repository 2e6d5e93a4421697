"""Functions that XLA compiles while Python goes on."""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Callable
from typing import Any

from tf_trpo.lazy import tensorflow as tf


def compiled_at_once(function: Callable[[], Any]) -> Callable[[], Any]:
    """Trace a function, and let XLA begin to compile it in another thread.

    XLA compiles a function at its first call, and a second call waits for it. So the first call is made here, on zeros
    in the place of all tensors and variables that the function captures: it should come to its end quickly.

    Args:
      function: of what it captures; not called, but within the trace of another function.

    Returns:
      The traced function. It computes the same whenever the compilation ends.
    """
    traced = tf.function(function, jit_compile=True, autograph=False).get_concrete_function()
    if all(map(_has_zeros, traced.captured_inputs)):
        prepared = threading.Event()
        threading.Thread(target=_call_on_zeros, args=(traced, prepared), name="compilation").start()
        # TensorFlow numbers functions, variables and results alike, and finds a program of an earlier run by its
        # function's number. So all that gets a number in the thread gets it now: the call has no result.
        prepared.wait()
    return traced


def _has_zeros(captured: Any) -> bool:
    """Tell whether a tensor has a shape and a type, or is a variable that has."""
    if captured.dtype == tf.resource:
        return bool(captured._handle_data and captured._handle_data.is_set)
    return captured.shape.is_fully_defined()


def _call_on_zeros(traced: Any, prepared: threading.Event) -> None:
    """Call a function on zeros in the place of all that it captures; say when it is only computing."""
    try:
        called, variables, specs = copy.copy(traced), {}, {}
        for place, tensor in enumerate(traced.captured_inputs):
            if tensor.dtype == tf.resource:
                kind = tensor._handle_data.shape_and_type[0]
                variables[place] = tf.Variable(tf.zeros(tf.TensorShape(kind.shape), tf.as_dtype(kind.dtype)))
            else:
                specs[place] = tf.TensorSpec(tensor.shape, tensor.dtype)

        def call(*tensors: Any) -> None:
            handles = {place: variable.handle for place, variable in variables.items()}
            captured = {**handles, **dict(zip(specs, tensors, strict=True))}
            called.set_external_captures([captured[place] for place in range(len(captured))])
            called()

        # To XLA, the function has the same name only if another one calls it.
        outer = tf.function(call, autograph=False).get_concrete_function(*specs.values())
        zeros = [tf.zeros(spec.shape, spec.dtype) for spec in specs.values()]
    finally:
        prepared.set()
    # What cannot be compiled is for the call that needs the result to say.
    with contextlib.suppress(tf.errors.OpError):
        outer(*zeros)

"""Compile functions by XLA in the background."""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Callable
from typing import Any

from tf_trpo.lazy import tensorflow as tf


def compiled_at_once(function: Callable[[], Any]) -> Callable[[], Any]:
    """Trace a function, and start its compilation by XLA in another thread.

    XLA compiles a function at its first call, and a second call waits for the compilation. So another thread makes the
    first call, with zeros in place of all tensors and variables that the function captures. On zeros, the function
    should end quickly.

    Args:
      function: a function without arguments, which depends on captured tensors and variables only. The caller uses it
        inside the trace of another function.

    Returns:
      The traced function. Its results do not depend on when the compilation ends.
    """
    traced = tf.function(function, jit_compile=True, autograph=False).get_concrete_function()
    if all(map(_has_zeros, traced.captured_inputs)):
        prepared = threading.Event()
        threading.Thread(target=_call_on_zeros, args=(traced, prepared), name="compilation").start()
        # TensorFlow numbers functions, variables and results by one counter, and finds programs of earlier runs by the
        # numbers of their functions. So wait until everything in the thread that gets a number has one; the call itself
        # has no result.
        prepared.wait()
    return traced


def _has_zeros(captured: Any) -> bool:
    """Return whether the shape and dtype of a captured tensor or variable are known, so that zeros can replace it."""
    if captured.dtype == tf.resource:
        return bool(captured._handle_data and captured._handle_data.is_set)
    return captured.shape.is_fully_defined()


def _call_on_zeros(traced: Any, prepared: threading.Event) -> None:
    """Call a function with zeros in place of its captures; set `prepared` when only the computation is left."""
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

        # XLA sees the function under the same name only if another function calls it.
        outer = tf.function(call, autograph=False).get_concrete_function(*specs.values())
        zeros = [tf.zeros(spec.shape, spec.dtype) for spec in specs.values()]
    finally:
        prepared.set()
    # If the compilation fails, the call that needs the result will raise the error.
    with contextlib.suppress(tf.errors.OpError):
        outer(*zeros)

"""Compilation in another thread: the same results, no effect of the first call, and one compilation only."""

import os
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.numerics import compiled_at_once


def wait():
    for thread in threading.enumerate():
        if thread.name == "compilation":
            thread.join()


def traced(variable, dense, calls):
    def outer(rows):
        scale = tf.reduce_max(rows)

        def inner():
            calls.append("traced")
            variable.assign_add(scale)
            return dense(rows) * variable, None

        return compiled_at_once(inner)()

    return tf.function(outer, autograph=False)


def test_the_result_is_that_of_the_function_and_the_first_call_changes_nothing():
    dense, variable, calls = keras.layers.Dense(3), tf.Variable(2.0), []
    dense.build((None, 2))
    function = traced(variable, dense, calls)
    rows = tf.constant([[1.0, 2.0], [3.0, 4.0]])
    function.get_concrete_function(tf.TensorSpec([2, 2]))
    wait()
    assert variable.numpy() == 2.0
    result, nothing = function(rows)
    assert nothing is None
    assert variable.numpy() == 6.0
    np.testing.assert_allclose(result, rows @ dense.kernel.value * 6.0, rtol=1e-6)
    assert calls == ["traced"]


PROGRAMS = """
import threading, tensorflow as tf
from tf_trpo.numerics import compiled_at_once
for size, waits in ((4, True), (5, False)):
    function = tf.function(lambda x: compiled_at_once(lambda: tf.tanh(x) @ x)(), autograph=False)
    function.get_concrete_function(tf.TensorSpec([size, size]))
    if waits:
        [thread.join() for thread in threading.enumerate() if thread.name == "compilation"]
    function(tf.ones([size, size]))
"""


def test_a_function_is_compiled_once_whether_its_first_call_waits_or_not(tmp_path):
    # Without programs that other tests have compiled.
    environment = {name: value for name, value in os.environ.items() if name != "TF_XLA_FLAGS"}
    environment["XLA_FLAGS"] = f"--xla_dump_to={tmp_path} --xla_dump_hlo_as_text"
    subprocess.run([sys.executable, "-c", PROGRAMS], env=environment, check=True, capture_output=True)
    assert len(list(tmp_path.glob("*after_optimizations.txt"))) == 2


@pytest.mark.parametrize("rows", [None, 2])
def test_unknown_shapes_and_functions_that_xla_cannot_compile_are_left_to_the_call(rows):
    def outer(x):
        return compiled_at_once(lambda: tf.strings.length(tf.strings.as_string(x)))()

    function = tf.function(outer, autograph=False)
    function.get_concrete_function(tf.TensorSpec([rows]))
    wait()
    with pytest.raises(tf.errors.OpError):
        function(tf.ones([2]))

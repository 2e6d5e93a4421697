"""The recurrence against TensorFlow's own loop, dense derivatives and a NumPy loop, in float64."""

import time

import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.numerics import Recurrence, differentiable_twice

ROWS, COLUMNS, INPUTS, UNITS = 6, 3, 2, 4


def row(weights, inputs, states, marks):
    kernel, recurrent, mixing = weights
    first, second = states
    begins, factor = marks
    new = tf.tanh(inputs @ kernel + first @ recurrent) * factor[:, None]
    other = 0.5 * second + tf.sin(new @ mixing)
    kept = tf.where(begins[:, None], tf.zeros_like(new), new)
    return new * other, (kept, other)


def problem(seed=0, rows=ROWS):
    random = np.random.default_rng(seed)
    shapes = [(INPUTS, UNITS), (UNITS, UNITS), (UNITS, UNITS)]
    weights = tuple(tf.constant(random.normal(size=shape)) for shape in shapes)
    inputs = tf.constant(random.normal(size=(rows, COLUMNS, INPUTS)))
    states = tuple(tf.constant(random.normal(size=(COLUMNS, UNITS))) for _ in range(2))
    marks = tf.constant(random.random((rows, COLUMNS)) < 0.3), tf.constant(random.normal(size=(rows, COLUMNS)))
    return weights, inputs, states, marks


def outputs_of(point, marks):
    weights, inputs, states = point
    return Recurrence(row, UNITS)(weights, inputs, states, marks)[0]


def both_derivatives(point, marks, cotangent, tangents):
    """J'u of weights, inputs and states for a cotangent u, and J v for tangents v."""
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            inner.watch(point)
            outputs = outputs_of(point, marks)
        given = tf.identity(cotangent)
        outer.watch(given)
        pulled = inner.gradient(outputs, point, output_gradients=given)
    return pulled, outer.gradient(pulled, given, output_gradients=tangents)


def numpy_outputs(weights, inputs, states, marks):
    kernel, recurrent, mixing = (weight.numpy() for weight in weights)
    first, second = (state.numpy() for state in states)
    outputs, after = [], []
    for t in range(ROWS):
        begins, factor = (mark.numpy()[t] for mark in marks)
        new = np.tanh(inputs.numpy()[t] @ kernel + first @ recurrent) * factor[:, None]
        second = 0.5 * second + np.sin(new @ mixing)
        outputs.append(new * second)
        first = np.where(begins[:, None], 0.0, new)
        after.append((first, second))
    return np.array(outputs), [np.array(part) for part in zip(*after, strict=True)]


def test_outputs_and_states_equal_a_loop_of_numpy():
    weights, inputs, states, marks = problem()
    outputs, after = Recurrence(row, UNITS)(weights, inputs, states, marks)
    expected, expected_after = numpy_outputs(weights, inputs, states, marks)
    np.testing.assert_allclose(outputs, expected, rtol=1e-13)
    for part, expected_part in zip(after, expected_after, strict=True):
        np.testing.assert_allclose(part, expected_part, rtol=1e-13)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_both_derivatives_equal_those_of_the_plain_loop(jit_compile):
    *point, marks = problem(1)
    random = np.random.default_rng(2)
    cotangent = tf.constant(random.normal(size=(ROWS, COLUMNS, UNITS)))
    tangents = tf.nest.map_structure(lambda part: tf.constant(random.normal(size=part.shape)), point)

    def derivatives():
        return both_derivatives(point, marks, cotangent, tangents)

    ours = tf.function(derivatives, jit_compile=jit_compile, autograph=False)()
    with differentiable_twice():
        plain = tf.function(derivatives, autograph=False)()
    for own, expected in zip(tf.nest.flatten(ours), tf.nest.flatten(plain), strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-11, atol=1e-12)


def test_the_loop_is_not_unrolled_so_that_128_rows_have_as_many_nodes_as_8():
    sizes = []
    for rows in (8, 128):
        *point, marks = problem(0, rows)
        cotangent = tf.ones([rows, COLUMNS, UNITS], tf.float64)
        derivatives = tf.function(both_derivatives, autograph=False).get_concrete_function(
            point, marks, cotangent, point
        )
        graph = derivatives.graph.as_graph_def()
        sizes.append(len(graph.node) + sum(len(function.node_def) for function in graph.library.function))
    # A large array of zeros has a few more nodes than a small one, which is a constant.
    assert 100 < sizes[0] <= sizes[1] < sizes[0] + 10


def test_xla_compiles_both_derivatives_of_128_rows_in_seconds():
    *point, marks = problem(0, 128)
    cotangent = tf.ones([128, COLUMNS, UNITS], tf.float64)
    start = time.process_time()
    compiled = tf.function(both_derivatives, jit_compile=True, autograph=False)(point, marks, cotangent, point)
    # About two seconds; an unrolled loop takes minutes.
    assert time.process_time() - start < 30
    plain = tf.function(both_derivatives, autograph=False)(point, marks, cotangent, point)
    for own, expected in zip(tf.nest.flatten(compiled), tf.nest.flatten(plain), strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-9, atol=1e-12)


def test_j_v_is_the_difference_quotient():
    *point, marks = problem(3)
    random = np.random.default_rng(4)
    tangents = tf.nest.map_structure(lambda part: tf.constant(random.normal(size=part.shape)), point)
    _, image = both_derivatives(point, marks, tf.zeros([ROWS, COLUMNS, UNITS], tf.float64), tangents)
    step = 1e-6
    ahead, behind = (
        outputs_of(tf.nest.map_structure(lambda a, b, h=h: a + h * b, point, tangents), marks) for h in (step, -step)
    )
    np.testing.assert_allclose(image, (ahead - behind) / (2 * step), rtol=1e-7, atol=1e-8)


def test_other_second_derivatives_are_nan_unless_differentiable_twice_is_used():
    weights, inputs, states, marks = problem(5)

    def second(weight):
        with tf.GradientTape() as outer:
            outer.watch(weight)
            with tf.GradientTape() as inner:
                inner.watch(weight)
                value = tf.reduce_sum(tf.square(outputs_of(((weight, *weights[1:]), inputs, states), marks)))
            gradient = inner.gradient(value, weight)
        return outer.gradient(gradient, weight, output_gradients=tf.ones_like(weight))

    assert np.isnan(second(weights[0])).all()
    with differentiable_twice():
        exact = second(weights[0])

    def gradient_at(weight):
        with tf.GradientTape() as tape:
            tape.watch(weight)
            value = tf.reduce_sum(tf.square(outputs_of(((weight, *weights[1:]), inputs, states), marks)))
        return tape.gradient(value, weight)

    step = 1e-6
    difference = (gradient_at(weights[0] + step) - gradient_at(weights[0] - step)) / (2 * step)
    np.testing.assert_allclose(exact, difference, rtol=1e-6, atol=1e-7)


def test_a_mark_with_another_number_of_rows_is_refused():
    weights, inputs, states, (begins, factor) = problem()
    with pytest.raises(ValueError, match="marks"):
        Recurrence(row, UNITS)(weights, inputs, states, (begins[1:], factor))

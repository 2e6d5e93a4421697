"""A memory row by row, and the Fisher matrix of a policy through time against dense derivatives, in float64."""

import itertools
import re
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.distributions import Gaussian
from tf_trpo.models import Encoder, Policy, ValueFunction, mlp
from tf_trpo.models.cells import initial_span, like, make_cell
from tf_trpo.models.memory import Memory, Segments, _first_states
from tf_trpo.numerics import (
    differentiable_twice,
    double_backprop_fisher_vector_product,
    gauss_newton_fisher_vector_product,
    merged,
    unflatten,
)

S, L, F = 3, 5, 2


class Cell(keras.layers.Layer):
    """Adds its inputs to its state, with a fault of the given name."""

    state_size = output_size = F

    def __init__(self, wrong=None, **kwargs):
        super().__init__(**kwargs)
        self.wrong = wrong
        self.scale = self.add_weight(shape=(F,), initializer="ones", name="scale")
        self.built = True

    def get_initial_state(self, batch_size):
        first = tf.fill([1 if self.wrong == "one episode" else batch_size, F], 0.5)
        if self.wrong == "trained":
            return [first * self.scale]
        return [tf.cast(first, tf.int32) if self.wrong == "integers" else first]

    def call(self, inputs, states, training=False):
        state = states[0] + self.scale * inputs
        return tf.tanh(state), [state]


def cells():
    stacked = keras.layers.StackedRNNCells([keras.layers.GRUCell(3, seed=0), keras.layers.LSTMCell(2, seed=1)])
    return {
        "gru": make_cell("gru", 4, 0),
        "lstm": make_cell("lstm", 3, 0),
        "own, stacked": stacked,
        "begins at 0.5": Cell(),
    }


def marks(seed, shape=(S, L)):
    random = np.random.default_rng(seed).random(shape)
    return random < 0.25, (random > 0.25) & (random < 0.4)


def stepwise(step, initial, rows, states, ends, holds):
    """Outputs [S, L, ...] computed step by step, for each segment alone."""
    outputs = []
    for s in range(len(ends)):
        now, found = [part[s : s + 1] for part in states], []
        for t in range(ends.shape[1]):
            output, new = step(rows[s : s + 1, t], tuple(now))
            found.append(output[0])
            if ends[s, t]:
                new = initial
            if not holds[s, t]:
                now = list(new)
        outputs.append(found)
    return np.array(outputs)


@pytest.mark.parametrize("name", cells())
def test_segments_are_unrolled_row_by_row(name):
    memory = Memory(cells()[name], F)
    random = np.random.default_rng(0)
    features = random.normal(size=(S, L, F)).astype(np.float32)
    states = tuple(tf.constant(random.normal(size=part.shape), tf.float32) for part in memory.initial(S))
    ends, holds = marks(1)
    outputs = memory(features.reshape(-1, F), Segments((), states, tf.constant(ends), tf.constant(holds)))
    expected = stepwise(memory.step, memory.initial(1), features, states, ends, holds)
    np.testing.assert_allclose(tf.reshape(outputs, expected.shape), expected, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def policy():
    encoder = Encoder((F,), 4, network=mlp((F,), (5,), seed=0), cell=make_cell("gru", 4, 0), output_gain=1.0, seed=0)
    return Policy(encoder, Gaussian([-1.0] * 2, [1.0] * 2, state_dependent_std=True))


def segments_of(policy, seed):
    random = np.random.default_rng(seed)
    observations = random.normal(size=(S, L, F)).astype(np.float32)
    states = tuple(tf.constant(random.normal(size=part.shape), tf.float32) for part in policy.initial_states(S))
    return Segments(tf.constant(observations), states, *map(tf.constant, marks(seed)))


def test_a_policy_gives_the_same_in_segments_and_step_by_step(policy):
    segments = segments_of(policy, 2)
    expected = stepwise(
        policy.step, policy.initial_states(1), segments.observations, segments.states, *map(np.array, segments[2:])
    )
    parameters = policy.distribution_parameters(segments)
    np.testing.assert_allclose(tf.reshape(parameters, expected.shape), expected, rtol=1e-5, atol=1e-6)
    assert merged(segments.observations).shape == (S * L, F)


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        ("gru", 0),
        ("lstm", 1),
        *[pytest.param(*case, marks=pytest.mark.slow) for case in (("gru", 1), ("lstm", 0), ("own", 0), ("own", 1))],
    ],
)
def test_the_fisher_product_through_time_is_the_dense_hessian_of_the_kl(name, seed):
    random = np.random.default_rng(seed)
    units, length, count = random.integers(2, 4), random.integers(2, 6), random.integers(1, 4)
    kinds = {"gru": keras.layers.GRUCell, "lstm": keras.layers.LSTMCell, "own": keras.layers.SimpleRNNCell}
    cell = kinds[name](int(units), dtype="float64", seed=seed)
    memory = Memory(cell, F, dtype="float64")
    initializer = keras.initializers.GlorotUniform(seed)
    before, after = (
        keras.layers.Dense(each, "tanh", kernel_initializer=initializer, dtype="float64") for each in (F, 2)
    )
    before.build((None, F))
    after.build((None, int(units)))
    variables = [each for layer in (before, cell, after) for each in layer.trainable_variables]
    features = tf.constant(random.normal(size=(length, count, F)))
    ends, holds = (tf.constant(flags.T) for flags in marks(seed, (count, length)))
    states = tuple(tf.constant(random.normal(size=part.shape)) for part in memory.initial(count))
    theta = tf.concat([tf.reshape(variable.value, [-1]) for variable in variables], 0)
    weights = tf.constant(random.random(int(length * count)) * (random.random(int(length * count)) > 0.2))

    def parameters(theta):
        mapping = zip(variables, unflatten(theta, variables), strict=True)
        with keras.StatelessScope(state_mapping=list(mapping)):
            outputs, _ = memory.unroll(before(features), ends, holds, states)
            return after(merged(outputs))

    def kl(old, new):
        variance, other = tf.exp(old[:, 1]), tf.exp(new[:, 1])
        return 0.5 * (variance / other + tf.square(old[:, 0] - new[:, 0]) / other - 1.0 + new[:, 1] - old[:, 1])

    def mean_kl(new):
        return tf.reduce_sum(weights * kl(tf.stop_gradient(old), parameters(new)))

    old = parameters(theta)

    def hessian():
        with tf.GradientTape() as outer:
            outer.watch(theta)
            with tf.GradientTape() as inner:
                inner.watch(theta)
                value = mean_kl(theta)
            gradient = inner.gradient(value, theta)
        return outer.jacobian(gradient, theta, experimental_use_pfor=False)

    with differentiable_twice():
        dense = tf.function(hessian, autograph=False)()
    vectors = tf.constant(random.normal(size=(3, theta.shape[0])))
    product = tf.function(
        gauss_newton_fisher_vector_product(parameters, kl, theta, weights), jit_compile=seed == 0, autograph=False
    )
    with differentiable_twice():
        twice = tf.function(double_backprop_fisher_vector_product(parameters, kl, theta, weights), autograph=False)
        for vector in vectors:
            np.testing.assert_allclose(twice(vector), tf.linalg.matvec(dense, vector), rtol=1e-9, atol=1e-12)
    for vector in vectors:
        np.testing.assert_allclose(product(vector), tf.linalg.matvec(dense, vector), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize("span", [2.0, 128.0])
def test_units_have_initial_time_constants_up_to_the_span(kind, span):
    memory = Memory(make_cell(kind, 5, 0, span=span), F)
    states = tuple(tf.ones_like(part) for part in memory.initial(1))
    _, after = memory.step(tf.zeros([1, F]), tuple(tf.zeros_like(part) for part in states))
    for part in after:
        np.testing.assert_allclose(part, 0.0, atol=1e-6)
    # Without inputs and outputs, the state shrinks by the same factor in every row.
    if kind == "lstm":
        _, (_, kept) = memory.step(tf.zeros([1, F]), (tf.zeros_like(states[0]), states[1]))
    else:
        cell = memory.cell
        cell.recurrent_kernel.assign(tf.zeros_like(cell.recurrent_kernel))
        _, (kept,) = memory.step(tf.zeros([1, F]), states)
    np.testing.assert_allclose(1.0 / (1.0 - kept[0]), np.linspace(span, 1.1, 5), rtol=1e-4)


def test_the_span_of_a_cell_is_known_after_training_and_of_no_other_cell():
    for kind, span, units in (("gru", 2.0, 1), ("gru", 128.0, 5), ("lstm", 60.0, 5), ("lstm", 2.0, 1)):
        cell = like(make_cell(kind, units, 0, span=span), 1)
        cell.build((None, F))
        cell.bias.assign(tf.zeros_like(cell.bias))
        assert initial_span(cell) == pytest.approx(span)
    others = [keras.layers.GRUCell(3), keras.layers.GRUCell(3, use_bias=False), keras.layers.SimpleRNNCell(3), Cell()]
    others += [keras.layers.LSTMCell(3, bias_initializer=keras.initializers.Constant(2.0)), cells()["own, stacked"]]
    assert list(map(initial_span, others)) == [None] * 6


def test_models_with_a_memory_are_saved_and_loaded(policy, tmp_path):
    value_function = ValueFunction(Encoder((F,), 1, cell=cells()["own, stacked"], output_gain=1.0, seed=0))
    for model in (policy, value_function):
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        segments = segments_of(policy, 3)
        states = tuple(tf.ones_like(part) for part in model.encoder.memory.initial(S))
        segments = segments._replace(states=states)
        found, expected = (each(segments) for each in (again, model))
        if model is policy:
            found, expected = (each.mean() for each in (found, expected))
        np.testing.assert_array_equal(found, expected)


def test_a_cell_like_another_has_the_same_settings_and_new_weights_by_the_seed():
    cell = keras.layers.StackedRNNCells([keras.layers.GRUCell(3, reset_after=False, seed=0), keras.layers.LSTMCell(2)])
    first, same, other = (like(cell, seed) for seed in (1, 1, 2))
    for each in (first, same, other):
        each.build((None, F))
        assert [each.cells[0].units, each.cells[1].units, each.cells[0].reset_after] == [3, 2, False]
    assert not cell.built
    for position, kernel in enumerate(first.weights):
        np.testing.assert_array_equal(same.weights[position], kernel)
        if len(kernel.shape) == 2 and "bias" not in kernel.path:
            assert np.abs(other.weights[position] - kernel).max() > 0.01


def test_a_partly_frozen_cell_learns_with_its_other_weights():
    stacked = keras.layers.StackedRNNCells([keras.layers.GRUCell(3, seed=i) for i in range(2)])
    stacked.cells[0].trainable = False
    memory = Memory(stacked, F)
    segments = Segments((), tuple(memory.initial(S)), *map(tf.constant, marks(0)))
    features = tf.random.stateless_normal([S * L, F], [0, 0])
    with tf.GradientTape() as tape:
        outputs = memory(features, segments)
    gradients = tape.gradient(outputs, [weight.value for weight in stacked.weights])
    frozen = {id(weight) for weight in stacked.cells[0].weights}
    learned = [g for g, weight in zip(gradients, stacked.weights, strict=True) if id(weight) not in frozen]
    assert all(g is not None and np.abs(g).max() > 0 for g in learned)


def test_a_cell_that_was_changed_is_traced_again():
    memory = Memory(keras.layers.GRUCell(3, seed=0), F)
    segments = Segments((), tuple(memory.initial(S)), *map(tf.constant, marks(0)))
    features = tf.random.stateless_normal([S * L, F], [0, 0])
    before = memory(features, segments)
    memory.cell.activation = keras.activations.relu
    memory.trace_again()
    expected = stepwise(
        memory.step, memory.initial(1), tf.reshape(features, [S, L, F]), segments.states, *map(np.array, segments[2:])
    )
    after = tf.reshape(memory(features, segments), expected.shape)
    np.testing.assert_allclose(after, expected, rtol=1e-5, atol=1e-6)
    assert np.abs(after - tf.reshape(before, expected.shape)).max() > 0.01


def test_cells_that_cannot_be_trained_are_refused():
    for wrong, message in (
        ("trained", "the first states of a memory must not be trained"),
        ("integers", r"first states of 3 episodes must be float32 arrays \[3, ...\], .* gives int32 \[3, 2\]$"),
        ("one episode", r"first states of 3 episodes must be .* gives float32 \[1, 2\]$"),
    ):
        with pytest.raises(ValueError, match=message):
            Memory(Cell(wrong), F)
    np.testing.assert_array_equal(Memory(Cell(), F).initial(2)[0], np.full((2, F), 0.5))


def odd(state_size=F, first=None, **kwargs):
    """odd(function): a cell that computes a function (inputs, states) -> (outputs, new states).

    `first` is the function batch_size -> initial states.
    """

    def make(function):
        cell = keras.layers.Layer(**kwargs)
        cell.state_size, cell.call = state_size, lambda inputs, states, training=False: function(inputs, states)
        if first is not None:
            cell.get_initial_state = first
        return cell

    return make


def mixed(rows):
    return rows - tf.reduce_mean(rows, axis=0)


def leaked(rows):
    """Change all rows but the first one, by the first one."""
    return tf.concat([rows[:1], rows[1:] + rows[:1]], axis=0)


def by_row(batch_size):
    return [tf.ones([batch_size, F]) * tf.range(batch_size, dtype=tf.float32)[:, None]]


NEW, MIXES = "must give new states like those that it gets: it gets float32 [3, 2], and gives ", "its cell mixes rows"
OUTPUTS = "must give float32 outputs [N, U], U at least 1, and for N = 3 it gives "
SAME = "must give the same for the same inputs and states: it is random, or counts calls"
ODD = {
    "mixes outputs": (odd()(lambda x, s: (mixed(x), s)), MIXES),
    "mixes inputs into states": (odd()(lambda x, s: (tf.tanh(s[0]), [tf.tanh(s[0] + mixed(x))])), MIXES),
    "mixes only into other rows": (odd()(lambda x, s: (x, [s[0] + leaked(x)])), MIXES),
    "begins differently": (odd(first=by_row)(lambda x, s: (x + s[0], s)), MIXES),
    "mixes states": (odd()(lambda x, s: (mixed(s[0]), [s[0] + x])), MIXES),
    "no outputs": (odd()(lambda x, s: (x[:, :0], s)), OUTPUTS + "float32 [3, 0]"),
    "outputs of rank 3": (odd()(lambda x, s: (x[:, None], s)), OUTPUTS + "float32 [3, 1, 2]"),
    "outputs of float64": (odd()(lambda x, s: (tf.cast(x, tf.float64), s)), OUTPUTS + "float64 [3, 2]"),
    "outputs of float16": (odd()(lambda x, s: (tf.cast(x, tf.float16), s)), OUTPUTS + "float16 [3, 2]"),
    "no state": (odd([])(lambda x, s: (x, s)), "the cell of a memory must have a state"),
    "an empty state": (
        odd(0)(lambda x, s: (x, s)),
        "must be float32 arrays [3, ...], and the cell of the memory gives f",
    ),
    "two states for one": (odd()(lambda x, s: (x, [s[0], s[0]])), NEW + "float32 [3, 2], float32 [3, 2]"),
    "a state that grows": (odd()(lambda x, s: (x, [tf.concat([s[0], x], 1)])), NEW + "float32 [3, 4]"),
    "a state of another type": (odd()(lambda x, s: (x, [tf.cast(s[0], tf.float64)])), NEW + "float64 [3, 2]"),
    "random": (odd()(lambda x, s: (x + tf.random.normal([F]), s)), SAME),
    "first states of a known number of rows": (
        odd(first=lambda batch_size: [np.zeros((batch_size, F), np.float32)])(lambda x, s: (x, [s[0] + x])),
        "must work if the number of rows is not known before",
    ),
    "rows counted in Python": (
        odd()(lambda x, s: (x, [s[0] + np.ones(x.shape[0])[:, None].astype(np.float32)])),
        "must work if the number of rows is not known before",
    ),
    "not finite": (odd()(lambda x, s: (x * np.nan, s)), "gives outputs or states that are not finite"),
}
ODD |= {
    f"computes in {dtype}": (keras.layers.GRUCell(4, dtype=dtype), f"must compute in float32, not in {found}")
    for dtype, found in {"mixed_float16": "float16", "float64": "float64", "bfloat16": "bfloat16"}.items()
}
PARTS = ("kernel", "recurrent", "bias")
IGNORED = {
    **{f"{part}_regularizer": ({f"{part}_regularizer": "l2"}, "L2", "cell.*/") for part in PARTS},
    **{f"{part}_constraint": ({f"{part}_constraint": "max_norm"}, "MaxNorm", "cell.*/") for part in PARTS},
    "activity_regularizer": ({"activity_regularizer": "l1"}, "L1", "cell"),
}


@pytest.mark.parametrize("name", IGNORED)
@pytest.mark.parametrize("kind", [keras.layers.GRUCell, keras.layers.LSTMCell], ids=["gru", "lstm"])
def test_a_cell_whose_regularizer_or_constraint_training_would_ignore_is_refused(kind, name):
    settings, found, where = IGNORED[name]
    message = rf"^the cell of a memory must have no {found}, which training would ignore: \S*{where}\S* has one$"
    for cell in (kind(3, **settings), keras.layers.StackedRNNCells([keras.layers.GRUCell(3), kind(2, **settings)])):
        with pytest.raises(ValueError, match=message):
            Memory(cell, F)
        with pytest.raises(ValueError, match=message):
            Memory(like(cell, 0), F)


@pytest.mark.parametrize("structure", [lambda state: state, lambda state: (state,), lambda state: [state]])
def test_first_states_may_have_any_structure_that_keras_allows(structure):
    def first(batch_size):
        return structure(tf.zeros([batch_size, F]))

    def make():
        return odd(first=first)(lambda x, s: (tf.tanh(s[0]), [s[0] + x]))

    features = tf.random.stateless_normal([S, L, F], [0, 0])
    expected = keras.layers.RNN(make(), return_sequences=True)(features)
    never = tf.zeros([S, L], tf.bool)
    memory = Memory(make(), F)
    outputs = memory(tf.reshape(features, [S * L, F]), Segments((), memory.initial(S), never, never))
    np.testing.assert_allclose(tf.reshape(outputs, expected.shape), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ODD)
def test_a_cell_that_could_not_act_or_learn_is_refused_by_its_reason(name):
    cell, message = ODD[name]
    with pytest.raises(ValueError, match=re.escape(message)):
        Memory(cell, F)


def test_a_cell_that_counts_its_calls_is_refused_and_a_numpy_number_is_a_size():
    calls = itertools.count()
    with pytest.raises(ValueError, match="counts calls"):
        Memory(odd()(lambda x, s: (x + next(calls), s)), F)
    memory = Memory(odd(np.int64(F))(lambda x, s: (x, [s[0] + x])), F)
    assert [part.shape.as_list() for part in memory.initial(3)] == [[3, F]]


def test_objects_that_are_not_cells_and_observations_without_states_are_refused(policy):
    for wrong in (keras.layers.GRU(3), "rnn", 3):
        with pytest.raises(TypeError, match="memory must be"):
            like(wrong, 0)
    plain = types.SimpleNamespace(state_size=[2, 3], compute_dtype="float32")
    assert [states.numpy().tolist() for states in _first_states(plain, 1)] == [[[0, 0]], [[0, 0, 0]]]
    with pytest.raises(TypeError, match="must have a state_size"):
        like(keras.layers.Dense(3), 0)
    for call in (policy, policy.step):
        with pytest.raises(ValueError, match="the model has a memory"):
            call(tf.zeros([4, F]))
    flat = Policy(Encoder((F,), 4, seed=0), Gaussian([-1.0] * 2, [1.0] * 2, state_dependent_std=True))
    with pytest.raises(ValueError, match="the model has no memory"):
        flat(segments_of(policy, 0))

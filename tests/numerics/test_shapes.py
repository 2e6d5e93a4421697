"""Every public function of numerics and estimation refuses wrong ranks and shapes before anything broadcasts."""

import inspect
import math
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_trpo import estimation, numerics
from tf_trpo.numerics import check_shapes

SIZES = {"T": 4, "B": 3, "N": 5, "P": 6, "D": 2, "S": 2, "E": 2, "C": 3}


def kl(p, q):
    return tf.reduce_sum(tf.square(p - q), axis=1)


def fisher(product):
    def parameters(theta):
        return tf.tile(tf.stack([[theta[0], theta[0] ** 2]]), [5, 1])

    return lambda theta, weights, vector: product(parameters, kl, tf.convert_to_tensor(theta), weights)(vector)


def batch_of(advantages, weights, mean, scale):
    return estimation.Batch(advantages, advantages, advantages, weights, mean, scale)


class Case(NamedTuple):
    """A call, and the shapes of its arguments; "S" and "..." mean any further dimensions."""

    call: Any
    arguments: dict[str, str]


ROLLOUT = {"rewards": "T B", "values": "T+1 B", "terminated": "T B", "truncated": "T B", "valid": "T B"}
BATCH = {"batch.advantages": "N", "batch.weights": "N", "batch.advantage_mean": "", "batch.advantage_scale": ""}
FISHER = {"theta": "P", "weights": "5", "vector": "P"}
MOMENTS = [f"{part}.{name}" for part in ("first", "second") for name in ("mean", "variance", "count")]

CASES = {
    "gae": Case(lambda *rows: estimation.gae(*rows, gamma=0.9, gae_lambda=0.9), ROLLOUT),
    "rewards_to_go": Case(lambda *rows: estimation.rewards_to_go(*rows, gamma=0.9), ROLLOUT),
    "lambda_returns": Case(estimation.lambda_returns, {"advantages": "T B", "values": "T+1 B"}),
    "discounted_return_so_far": Case(
        lambda *rows: estimation.discounted_return_so_far(*rows, gamma=0.9),
        {"rewards": "T B", "ended": "T B", "valid": "T B", "carry": "B"},
    ),
    "branch_returns": Case(
        lambda *rows: estimation.branch_returns(*rows, gamma=0.9),
        {"rewards": "N D", "steps": "N", "terminated": "N", "values": "N"},
    ),
    "branch_advantages": Case(estimation.branch_advantages, {"returns": "N D", "probabilities": "N D"}),
    "advantage_moments": Case(estimation.advantage_moments, {"advantages": "N", "weights": "N"}),
    "normalize_advantages": Case(estimation.normalize_advantages, {"advantages": "N", "weights": "N"}),
    "winsorize": Case(lambda *rows: estimation.winsorize(*rows, 2.0), {"values": "N", "weights": "N"}),
    "weighted_mean": Case(estimation.weighted_mean, {"samples": "N", "weights": "N"}),
    "weighted_moments": Case(estimation.weighted_moments, {"samples": "N ...", "weights": "N"}),
    "combined_moments": Case(
        lambda *rows: estimation.combined_moments(estimation.Moments(*rows[:3]), estimation.Moments(*rows[3:])),
        {name: "" if name.endswith("count") else "S" for name in MOMENTS},
    ),
    "explained_variance": Case(estimation.explained_variance, {"predictions": "N", "targets": "N", "weights": "N"}),
    "surrogate_improvement": Case(
        estimation.surrogate_improvement, {"log_prob": "N", "old_log_prob": "N", "advantages": "N", "weights": "N"}
    ),
    "clipped_surrogate_improvement": Case(
        lambda *rows: estimation.clipped_surrogate_improvement(*rows, clip_range=0.2),
        {"log_prob": "N", "old_log_prob": "N", "advantages": "N", "weights": "N"},
    ),
    "largest_advantage": Case(lambda *rows: estimation.largest_advantage(batch_of(*rows)), BATCH),
    "advantage_scale": Case(
        lambda scale: estimation.advantage_scale(batch_of(0.0, 1.0, 0.0, scale)), {"batch.advantage_scale": ""}
    ),
    "penalty_coefficient": Case(lambda epsilon: estimation.penalty_coefficient(epsilon, 0.9), {"epsilon": ""}),
    "estimate_lower_bound": Case(
        lambda *rows: estimation.estimate_lower_bound(
            batch_of(*rows[:4]), predicted=rows[4], actual=rows[5], max_kl=rows[6], gamma=0.9
        ),
        {**BATCH, "predicted": "", "actual": "", "max_kl": ""},
    ),
    "reduce_over_chunks": Case(
        lambda samples, weights: numerics.reduce_over_chunks(
            lambda rows, weights: tf.reduce_sum(weights), tf.add, tf.constant(0.0), samples, weights, 2
        ),
        {"samples": "N ...", "weights": "N"},
    ),
    "as_rows": Case(estimation.as_rows, {"samples": "N ...", "weights": "N"}),
    "map_over_chunks": Case(lambda rows: numerics.map_over_chunks(tf.identity, rows, 2), {"rows": "N ..."}),
    "conjugate_gradient": Case(
        lambda b: numerics.conjugate_gradient(lambda vector: 2.0 * vector, b, max_iterations=2), {"b": "P"}
    ),
    "gauss_newton_fisher_vector_product": Case(fisher(numerics.gauss_newton_fisher_vector_product), FISHER),
    "double_backprop_fisher_vector_product": Case(fisher(numerics.double_backprop_fisher_vector_product), FISHER),
    "hessian_product_at_minimum": Case(
        lambda *rows: numerics.hessian_product_at_minimum(kl, *rows), {"current": "N D", "tangent": "N D"}
    ),
    "unflatten": Case(lambda vector: numerics.unflatten(vector, [tf.zeros([2, 2]), tf.zeros([2])]), {"vector": "6"}),
    "backtracking_line_search": Case(
        lambda theta, step, max_kl: numerics.backtracking_line_search(
            lambda _: (tf.constant(1.0, tf.float64), tf.constant(0.0, tf.float64)),
            theta,
            step,
            max_kl=tf.cast(max_kl, tf.float64),
        ),
        {"theta": "P", "step": "P", "max_kl": ""},
    ),
    "constrained_step": Case(
        lambda *arrays: numerics.constrained_step(*(tf.cast(array, tf.float64) for array in arrays)),
        {"gain": "D", "slopes": "C D", "excess": "C", "metric": "D D", "max_kl": ""},
    ),
    "linear_recurrence": Case(numerics.linear_recurrence, {"decay": "T S", "inputs": "T S"}),
    "minibatch_rows": Case(
        lambda orders, step: numerics.minibatch_rows(tf.cast(orders, tf.int32), tf.cast(step, tf.int32) - 1, 1),
        {"orders": "E N", "step": ""},
    ),
    "step_length_for_kl": Case(
        lambda *given: numerics.step_length_for_kl(*given[:3], damping=given[3]),
        {"direction": "P", "fisher_times_direction": "P", "max_kl": "", "damping": ""},
    ),
}
WITHOUT_TENSORS = {"random_orders", "minibatches_per_epoch", "minibatch_size_of", "differentiable_twice"}
"""Their arguments are Python numbers, if they have any. `flatten` takes tensors of every shape."""


def right_shapes(case, sizes=SIZES, further=(2,)):
    def shape(dimensions):
        result = []
        for dimension in dimensions.split():
            symbol, _, summand = dimension.partition("+")
            result += further if symbol in ("...", "S") else [int(sizes.get(symbol, symbol)) + int(summand or 0)]
        return tuple(result)

    return {name: shape(dimensions) for name, dimensions in case.arguments.items()}


def wrong_shapes(case, argument):
    """Shapes with a wrong rank, or that disagree with other arguments; broadcasting would allow many of them."""
    shape, dimensions = right_shapes(case)[argument], case.arguments[argument].split()
    others = " ".join(other for name, other in case.arguments.items() if name != argument)
    shown = [dimension.isdigit() or dimension[0] in others for dimension in dimensions]
    ranks = range(len(dimensions) - 1, 9) if "..." in dimensions else [len(shape)]
    candidates = {(), (*shape, 1), (1, *shape), shape[1:], shape[::-1], (*shape, 5)}
    candidates |= {(*shape[:axis], size, *shape[axis + 1 :]) for axis in range(len(shape)) for size in (1, 7)}

    def is_wrong(candidate):
        return len(candidate) not in ranks or any(
            size != right and is_shown for size, right, is_shown in zip(candidate, shape, shown, strict=False)
        )

    return sorted(candidate for candidate in candidates if is_wrong(candidate))


def ones(shapes, make):
    return [make(np.ones(shape, np.float32)) for shape in shapes.values()]


OF_NESTS = {
    "compiled_at_once",
    "flatten",
    "counted_weights",
    "from_rows",
    "merged",
    "check_shapes",
    "chunk_size_for",
    "sampled_fisher_inverse",
    "scalar",
    "is_positive",
}
"""Functions whose arguments may have any shape, or are lists (of the inverse, its own tests check the shapes)."""


def test_every_public_function_is_here():
    functions = [*inspect.getmembers(numerics, inspect.isfunction), *inspect.getmembers(estimation, inspect.isfunction)]
    assert {name for name, _ in functions} == {*CASES, *WITHOUT_TENSORS, *OF_NESTS}


@pytest.mark.parametrize("name", CASES)
def test_wrong_shapes_are_refused_before_they_broadcast(name):
    case = CASES[name]
    right = right_shapes(case)
    for argument in case.arguments:
        wrong_ones = wrong_shapes(case, argument)
        assert wrong_ones
        for wrong in wrong_ones:
            shapes = {**right, argument: wrong}
            # If two shapes disagree in a size, the later one is named.
            fixed_rank = not case.arguments[argument].endswith(("S", "..."))
            named = argument if fixed_rank and len(wrong) != len(right[argument]) else ".*"
            message = rf"{name}: {named} must have the shape \[.*\].*, got \[.*\]"
            for make in (np.asarray, tf.constant):
                with pytest.raises(ValueError, match=message):
                    case.call(*ones(shapes, make))
        traced = tf.function(case.call, autograph=False)
        with pytest.raises(ValueError, match=message):
            traced.get_concrete_function(*(tf.TensorSpec(shape) for shape in shapes.values()))


@settings(max_examples=4)
@given(
    sizes=st.fixed_dictionaries({symbol: st.integers(1, 4) for symbol in SIZES}),
    further=st.lists(st.integers(1, 3), max_size=2),
)
@pytest.mark.parametrize("name", CASES)
def test_right_shapes_pass(name, sizes, further):
    CASES[name].call(*ones(right_shapes(CASES[name], sizes, further), tf.constant))


FLOAT64 = tf.ones([2], tf.float64)
RESULTS = {
    "product": lambda: numerics.conjugate_gradient(lambda v: v[:, None], FLOAT64, max_iterations=2),
    "parameters": lambda: numerics.gauss_newton_fisher_vector_product(lambda t: t, kl, FLOAT64, FLOAT64)(FLOAT64),
    "metric": lambda: numerics.gauss_newton_fisher_vector_product(
        lambda t: t[:, None], kl, FLOAT64, FLOAT64, lambda p, u: u[0]
    )(FLOAT64),
    "divergence": lambda: numerics.double_backprop_fisher_vector_product(
        lambda t: t[:, None], lambda p, q: (p - q) ** 2, FLOAT64, FLOAT64
    )(FLOAT64),
    "result": lambda: numerics.map_over_chunks(lambda rows: rows[:1], tf.ones([3, 2]), None),
    "vectors": lambda: numerics.Reflection((1, 0), (1, 1))(tf.ones([3])),
    "improvement": lambda: numerics.backtracking_line_search(
        lambda theta: (theta[:1], theta[0]), FLOAT64, FLOAT64, max_kl=0.1
    ),
}


@pytest.mark.parametrize("result", RESULTS)
def test_wrong_shape_of_a_callables_result_is_refused(result):
    for call in (RESULTS[result], tf.function(RESULTS[result])):
        with pytest.raises(ValueError, match=rf": {result} must have the shape"):
            call()


def test_divergence_of_the_second_kind_is_refused_by_the_metric_too():
    with pytest.raises(ValueError, match="divergence must have the shape"):
        numerics.hessian_product_at_minimum(lambda p, q: (p - q) ** 2, tf.ones([3, 1]), tf.ones([3, 1]))


def test_kl_of_the_line_search_must_be_float64():
    # In float32, 0.01 would be another limit.
    with pytest.raises(ValueError, match="must be float64"):
        numerics.backtracking_line_search(
            lambda _: (tf.constant(1.0), tf.constant(0.01)), tf.ones([2]), tf.ones([2]), max_kl=0.01
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"a": (5.0, "N")}, "f: a must have the shape [N], got []"),
        ({"a": (np.ones([2, 3]), "3 2")}, "f: a must have the shape [3, 2], got [2, 3]"),
        ({"a": (np.ones(4), "T"), "b": (np.ones(4), "T+1")}, "f: b must have the shape [T+1] with T = 4, got [4]"),
        ({"a": (np.ones(0), "T+1")}, "f: a must have the shape [T+1], got [0]"),
        ({"a": (np.ones([]), "N ...")}, "f: a must have the shape [N, ...], got []"),
        ({"a": (tf.TensorSpec([None, 2]), "N 3")}, "f: a must have the shape [N, 3], got [?, 2]"),
        ({"a": (np.ones([2, 3]), "... 2")}, "f: a must have the shape [..., 2], got [2, 3]"),
        ({"a": (np.ones([2, 3]), "S..."), "b": (np.ones([2]), "S...")}, "f: b must have the shape [S...]"),
        ({"a": (np.ones([2, 3]), "S..."), "b": (np.ones([2, 1]), "S...")}, "f: b must have the shape [S...]"),
    ],
)
def test_message_names_function_argument_and_both_shapes(arguments, message):
    with pytest.raises(ValueError, match="must have the shape") as caught:
        check_shapes("f", **arguments)
    assert str(caught.value).startswith(message)


def test_unknown_sizes_and_ranks_pass_and_no_operation_is_added():
    with tf.Graph().as_default() as graph:
        unknown = [tf.compat.v1.placeholder(tf.float32, shape) for shape in (None, [None, None], [None, 3], [4, None])]
        count = len(graph.get_operations())
        check_shapes("f", **{f"argument {i}": (tensor, "N M") for i, tensor in enumerate(unknown)})
        assert len(graph.get_operations()) == count
    check_shapes("f", a=(tf.Variable([1.0, math.nan]), "N"), b=([1, 2], "N"), c=(3, ""))

"""flatten and unflatten are inverse to each other."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tf_trpo.numerics import flatten, unflatten

SHAPES = st.lists(st.lists(st.integers(0, 4), max_size=3).map(tuple), min_size=1, max_size=5)


def random_arrays(shapes, dtype=np.float32):
    generator = np.random.default_rng(len(shapes))
    return [generator.normal(size=shape).astype(dtype) for shape in shapes]


@given(shapes=SHAPES, dtype=st.sampled_from([np.float32, np.float64]))
def test_unflatten_undoes_flatten(shapes, dtype):
    arrays = random_arrays(shapes, dtype)
    tensors = [tf.constant(array) for array in arrays]
    restored = unflatten(flatten(tensors), tensors)
    assert len(restored) == len(arrays)
    for tensor, array in zip(restored, arrays, strict=True):
        assert tensor.dtype == dtype
        np.testing.assert_array_equal(tensor, array, strict=True)


@given(shapes=SHAPES)
def test_elements_are_in_row_major_order_tensor_after_tensor(shapes):
    arrays = random_arrays(shapes)
    np.testing.assert_array_equal(flatten(arrays), np.concatenate([array.ravel() for array in arrays]))


def test_variables_serve_as_well_as_tensors():
    variables = [tf.Variable([[1.0, 2.0], [3.0, 4.0]]), tf.Variable(5.0)]
    vector = flatten(variables)
    np.testing.assert_array_equal(vector, [1.0, 2.0, 3.0, 4.0, 5.0])
    # A vector whose length is unknown while it is traced.
    cut = tf.function(lambda vector: unflatten(vector, variables), input_signature=[tf.TensorSpec([None])])
    matrix, scalar = cut(10.0 * vector)
    np.testing.assert_array_equal(matrix, [[10.0, 20.0], [30.0, 40.0]])
    assert scalar == 50.0


def test_flatten_of_nothing_is_an_error():
    with pytest.raises(ValueError, match=r"at least one tensor: .*, or are all its weights frozen\?$"):
        flatten([])

"""Signed permutations: names, effect, and refusals."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tf_trpo.numerics import Reflection

NAMES = "height -lean right_knee left_knee -right_tilt -left_tilt"
WALKER = Reflection.from_names(NAMES)
REFLECTIONS = st.permutations(NAMES.split()).map(lambda order: Reflection.from_names(" ".join(order)))


def matrix(permutation):
    """The reflection as a dense matrix."""
    out = np.zeros((len(permutation.signs),) * 2, np.float32)
    for row, (source, sign) in enumerate(zip(permutation.sources, permutation.signs, strict=True)):
        out[row, source] = sign
    return out


def test_names_give_signs_and_positions():
    assert Reflection((0, 1, 3, 2, 5, 4), (1, -1, 1, 1, -1, -1)) == WALKER
    vectors = tf.constant([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])
    np.testing.assert_array_equal(WALKER(vectors), [[1, -2, 4, 3, -6, -5]])
    np.testing.assert_array_equal(WALKER.unsigned()(vectors), [[1, 2, 4, 3, 6, 5]])


@pytest.mark.parametrize(
    "names", ["left_leg", "one one", "-one one", "--one -one one", "left_leg right_arm", "left_leg -right_leg"]
)
def test_names_that_make_no_reflection_are_refused(names):
    with pytest.raises(ValueError, match="each name must occur once"):
        Reflection.from_names(names)


@given(REFLECTIONS)
def test_reflecting_twice_changes_nothing(permutation):
    vectors = np.random.default_rng(0).normal(size=(3, len(permutation.signs))).astype(np.float32)
    np.testing.assert_array_equal(permutation(tf.constant(vectors)), vectors @ matrix(permutation).T)
    np.testing.assert_array_equal(permutation(permutation(tf.constant(vectors))), vectors)


@pytest.mark.parametrize(
    ("sources", "signs"),
    [((1, 2, 0), (1, 1, 1)), ((1, 0), (1, -1)), ((0, 0), (1, 1)), ((0, 1), (1, 2)), ((0,), (1, 1)), ((0, 5), (1, 1))],
)
def test_a_signed_permutation_that_is_not_its_own_inverse_is_refused(sources, signs):
    with pytest.raises(ValueError, match="applied twice"):
        Reflection(sources, signs)


def test_positions_and_signs_must_be_integers_of_any_type():
    assert Reflection(np.array([1, 0]), [np.int64(-1), -1]) == Reflection((1, 0), (-1, -1))
    with pytest.raises(TypeError, match="integer"):
        Reflection((0.0, 1.0), (1, 1))


@given(REFLECTIONS, REFLECTIONS)
def test_concatenated_reflections_reflect_their_own_parts(one, other):
    vectors = np.random.default_rng(0).normal(size=(3, len(one.signs) + len(other.signs)))
    first, second = np.split(vectors, [len(one.signs)], axis=1)
    expected = np.concatenate([first @ matrix(one).T, second @ matrix(other).T], axis=1)
    np.testing.assert_array_equal(one.then(other)(tf.constant(vectors)), expected)

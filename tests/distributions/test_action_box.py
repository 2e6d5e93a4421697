"""Coordinates in which a box of actions is [-1, 1], and the actions of an environment, which lie in its space."""

import itertools

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given
from hypothesis import strategies as st

from tf_trpo.distributions.action_box import ActionBox
from tf_trpo.numerics import Reflection

DTYPES = ["float16", "float32", "float64"]
RANDOM = np.random.default_rng(0)
COORDINATES = np.concatenate([RANDOM.normal(0, 1, 9000), RANDOM.normal(0, 1e6, 996), [-1.0, 0.0, 1.0, 3e38]]).astype(
    np.float32
)


def made(low, high, dtype="float32"):
    return ActionBox(low, high, dtype), gym.spaces.Box(
        np.asarray(low, dtype), np.asarray(high, dtype), dtype=np.dtype(dtype)
    )


def all_inside(space, actions):
    return actions.dtype == space.dtype and np.all(actions >= space.low) and np.all(actions <= space.high)


SPACES = [
    *itertools.product([-0.1, -0.3, -1.2, 990, 0, 0.1, -6e4], [0.1, 0.8, 0.001, 1000, 1e4, 6e4], DTYPES),
    (1e9, 1e9 + 1, "float64"),
    (1e9, 1e9 + 64, "float32"),
    (-1.7e308, 1.7e308, "float64"),
    (1.6e308, 1.7e308, "float64"),
    (-3e38, 3.1e38, "float32"),
    (-65000, 65000, "float16"),
    (-np.inf, np.inf, "float16"),
    (-np.inf, 0.1, "float64"),
    (-0.1, np.inf, "float64"),
    (-np.finfo(np.float32).max, np.finfo(np.float32).max, "float32"),
]


def test_ten_thousand_actions_lie_in_each_awkward_or_extreme_space_with_its_dtype():
    for low, high, dtype in SPACES:
        if low > high:
            continue
        box, space = made([low], [high], dtype)
        actions = box.environment_actions(COORDINATES[:, None])
        assert all_inside(space, actions)
        assert all(space.contains(action) for action in actions[-9:])
        assert np.isfinite(actions).all()
        by_tensorflow = box.to_environment(tf.constant(COORDINATES[:, None])).numpy()
        assert all_inside(space, by_tensorflow)
        if box.bounded[0]:
            np.testing.assert_array_equal(
                box.environment_actions(np.float32([[-1], [1]]))[:, 0], [*space.low, *space.high]
            )
        if max(-low, high) < 1e5:
            scale = np.finfo(dtype).eps * max(abs(low), abs(high))
            wide = actions.astype(np.float64)
            np.testing.assert_allclose(by_tensorflow, wide, rtol=1e-6, atol=4 * max(scale, 2e-7 * abs(high)))


@given(st.sampled_from(DTYPES), st.floats(width=16, allow_nan=False), st.floats(width=16, allow_nan=False))
def test_actions_lie_in_any_space_and_coordinate_1_is_exactly_the_bound(dtype, one, other):
    low, high = min(one, other), max(one, other)
    assume(low < np.inf and high > -np.inf)
    box, space = made([low], [high], dtype)
    with np.errstate(over="ignore"):
        actions = box.environment_actions(COORDINATES[::50, None])
        by_tensorflow = box.to_environment(tf.constant(COORDINATES[::50, None])).numpy()
    assert all_inside(space, actions)
    assert all_inside(space, by_tensorflow)
    if box.bounded[0]:
        for reached in (
            box.environment_actions(np.float32([[-1], [1]])),
            box.to_environment(tf.constant([[-1.0], [1.0]])),
        ):
            np.testing.assert_array_equal(reached, [[low], [high]])


def test_actions_between_minus_1_and_1_are_unchanged_and_powers_of_two_are_exact():
    inside = np.clip(COORDINATES, -1, 1)[:, None]
    for factor in (1.0, 2.0, 2.0**-10, 2.0**20):
        box, _ = made([-factor], [factor])
        np.testing.assert_array_equal(box.environment_actions(COORDINATES[:, None]), np.float32(factor) * inside)
        np.testing.assert_array_equal(
            box.to_environment(tf.constant(COORDINATES[:, None])), np.float32(factor) * inside
        )


@pytest.mark.parametrize("given", [np.float32, np.float64])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_actions_at_the_bounds_have_exactly_the_coordinates_minus_1_and_1(dtype, given):
    box, _ = made([0.1, -0.3, 100.0, 1e9], [0.7, 0.9, 100.7, 1e9 + 64], dtype)
    low, high = (bound.astype(given) for bound in (box.low, box.high))
    found = box.from_environment(np.stack([low, high, 0.25 * low + 0.75 * high]))
    np.testing.assert_array_equal(found[:2], np.float32([[-1] * 4, [1] * 4]))
    np.testing.assert_allclose(found[2, :2], 0.5, atol=1e-6)


def test_a_dimension_whose_two_bounds_are_equal_has_the_coordinate_0():
    box, space = made([0.0, -1.0, 5.0], [0.0, 1.0, 5.0])
    actions = np.float32([[0.0, 1.0, 5.0], [0.0, 0.5, 5.0]])
    found = box.from_environment(actions)
    np.testing.assert_array_equal(found, [[0, 1, 0], [0, 0.5, 0]])
    np.testing.assert_array_equal(box.environment_actions(found), actions)
    assert all(space.contains(action) for action in box.environment_actions(COORDINATES[:9].reshape(3, 3)))


def test_dimensions_without_two_bounds_keep_their_units():
    box, _ = made([-5.0, -np.inf, -np.inf, 0.0], [np.inf, 7.0, np.inf, 10.0])
    np.testing.assert_array_equal(box.bounded, [False, False, False, True])
    np.testing.assert_array_equal(box.low_coordinate, [-5, -np.inf, -np.inf, -1])
    np.testing.assert_array_equal(box.high_coordinate, [np.inf, 7, np.inf, 1])
    given = np.float32([[-9, 9, 1e6, 0.5], [3, 3, -3, -0.5]])
    np.testing.assert_array_equal(box.environment_actions(given), [[-5, 7, 1e6, 7.5], [3, 3, -3, 2.5]])
    np.testing.assert_array_equal(box.to_environment(tf.constant(given)), [[-5, 7, 1e6, 7.5], [3, 3, -3, 2.5]])


@pytest.mark.parametrize("lead", [(5,), (3, 5), ()])
@pytest.mark.parametrize("shape", [(), (4,), (2, 2), (1, 4, 1)])
def test_the_environment_gets_its_own_shape(shape, lead):
    box = ActionBox(np.full(shape, -9.0), np.full(shape, 9.0))
    actions = RANDOM.normal(size=(*lead, int(np.prod(shape)))).astype(np.float32)
    np.testing.assert_allclose(
        box.environment_actions(actions), np.clip(9 * actions, -9, 9).reshape((*lead, *shape)), rtol=1e-6
    )
    if len(lead) == 1:
        np.testing.assert_allclose(
            box.to_environment(tf.constant(actions)), np.clip(9 * actions, -9, 9).reshape((*lead, *shape)), rtol=1e-6
        )


@pytest.mark.parametrize(
    ("low", "high", "dtype", "message"),
    [
        ([-1], [1, 1], "float32", "do not make a box"),
        ([[-1]], [1], "float32", "do not make a box"),
        ([2], [1], "float32", "do not make a box"),
        ([np.nan], [1], "float32", "do not make a box"),
        ([], [], "float32", "do not make a box"),
        ([0], [1], "int64", "must be float16, float32 or float64, not int64"),
    ],
)
def test_bounds_that_make_no_box_are_refused(low, high, dtype, message):
    with pytest.raises(ValueError, match=message):
        ActionBox(low, high, dtype)


def test_a_mirror_must_keep_the_box():
    box, _ = made([-1.0, -2.0, 0.0], [2.0, 1.0, 1.0])
    box.check_mirror(Reflection((1, 0, 2), (-1, -1, 1)))
    for reflection, message in [
        (Reflection((1, 0, 2), (1, 1, 1)), "the bounds of action 0 are not the mirror image of the bounds of action 1"),
        (Reflection((0, 1, 2), (1, 1, -1)), "the bounds of action 2 are not"),
        (Reflection((0,), (1,)), "the mirror is one of 1 actions, not of 3"),
    ]:
        with pytest.raises(ValueError, match=message):
            box.check_mirror(reflection)

"""Conversion of an environment's actions to sampled actions and back gives the same actions."""

import numpy as np
import pytest
import tensorflow as tf
from gymnasium import spaces

from tf_trpo.distributions import ActionDistribution, Gaussian
from tf_trpo.models import PolicySettings, make_policy

SEEN = spaces.Box(-1, 1, (2,))
CASES = {
    "choices": (spaces.Discrete(4, start=-2), {}),
    "bits": (spaces.MultiBinary((2, 2)), {}),
    "numbers": (spaces.MultiDiscrete([[2, 4], [3, 1]], start=[[0, -1], [5, 0]]), {}),
    "a box in its own units": (spaces.Box(np.array([-0.1, 5.0]), np.array([0.1, 35.0]), dtype=np.float64), {}),
    "a box without bounds": (spaces.Box(-np.inf, np.inf, (2, 2)), {}),
    "beta": (spaces.Box(0, 1000, (3,)), {"distribution": "beta"}),
    "whole numbers": (spaces.Box(-2, 3, (2,), np.int8), {}),
    "a nest": (
        spaces.Dict(
            push=spaces.Box(-2, 2, (2,)), rest=spaces.Tuple([spaces.Discrete(3, start=1), spaces.MultiBinary(2)])
        ),
        {},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_converting_to_sampled_actions_and_back_changes_nothing(name):
    space, settings = CASES[name]
    distribution = make_policy(PolicySettings(hidden_sizes=(2,), **settings), SEEN, space).action_distribution
    space.seed(0)
    actions = tf.nest.map_structure(lambda *rows: np.stack(rows), *[space.sample() for _ in range(20)])
    sampled = distribution.from_environment(actions)
    parameters = distribution.parameters(tf.zeros([20, distribution.num_outputs]))
    mode = distribution.mode(parameters)
    assert sampled.dtype == mode.dtype.as_numpy_dtype
    assert sampled.shape == mode.shape
    assert np.isfinite(distribution.log_prob(parameters, tf.constant(sampled))).all()
    again = distribution.environment_actions(sampled)
    for part, own in zip(tf.nest.flatten(again), tf.nest.flatten(actions), strict=True):
        assert part.dtype == own.dtype
        np.testing.assert_allclose(part, own, rtol=1e-5, atol=1e-5 * max(1.0, np.abs(own).max()))


def test_coordinates_are_fractions_of_half_the_range():
    distribution = Gaussian([0.0, -1.0], [10.0, np.inf])
    np.testing.assert_allclose(distribution.from_environment([[0.0, 7.0], [7.5, -1.0]]), [[-1.0, 7.0], [0.5, -1.0]])


def test_a_users_distribution_says_what_it_must_define():
    class Own(ActionDistribution):
        def distribution(self, parameters):
            raise AssertionError

    class Scaled(Own):
        def to_environment(self, actions):
            return 2 * actions

    np.testing.assert_array_equal(Own(1).from_environment([[3.0]]), [[3.0]])
    with pytest.raises(NotImplementedError, match="Scaled must define from_environment to learn from demonstrations"):
        Scaled(1).from_environment([[3.0]])

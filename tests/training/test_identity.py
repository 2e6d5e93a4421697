"""The identity of a run tells all values apart on which its result depends."""

import enum
import pathlib

import gymnasium as gym
import numpy as np
import pytest

from tf_trpo.training.identity import check_identity, run_identity

Colour = enum.Enum("Colour", "RED BLUE")


@pytest.fixture(scope="module")
def identity_with(make_agent):
    agent, opening = make_agent("CartPole-v1"), {"wrappers": (), "action_masks": "auto"}
    return lambda value: run_identity(agent, "CartPole-v1", {**opening, "env_kwargs": {"a": [value]}}, seed=0)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.float32(0.5), np.float32(0.25)),
        (np.bool_(True), np.bool_(False)),
        (np.array([1, 2]), np.array([1, 3])),
        (np.array([1, 2]), np.array([[1, 2]])),
        (np.array([1, 2]), np.array([1.0, 2.0])),
        (np.array([1, "a"], object), np.array([1, "b"], object)),
        (gym.Env, gym.Wrapper),
        (pathlib.Path("a"), pathlib.Path("b")),
        (Colour.RED, Colour.BLUE),
        ({"a", "b"}, {"a", "c"}),
        ({"name": "easy"}, {"name": "hard"}),
        (str.lower, str.upper),
    ],
)
def test_different_arguments_of_an_environment_are_different_runs(one, other, identity_with):
    check_identity(identity_with(one), identity_with(one))
    with pytest.raises(ValueError, match="of a run with env_kwargs/a/0"):
        check_identity(identity_with(one), identity_with(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.int64(3), 3),
        (np.float64(0.5), 0.5),
        (np.longdouble(0.5), 0.5),
        (np.arange(6).reshape(2, 3).T, np.array([[0, 3], [1, 4], [2, 5]])),
        (object(), object()),
        (np.random.default_rng(0), np.random.default_rng(1)),
        ({max, frozenset("ab")}, {frozenset("ba"), max}),
    ],
)
def test_equal_arguments_are_the_same_run_however_they_are_stored(one, other, identity_with):
    check_identity(identity_with(one), identity_with(other))

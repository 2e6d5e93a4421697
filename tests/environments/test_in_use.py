"""An environment has one user at a time, and cannot be used after it was closed."""

import copy
import functools
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv, VectorWrapper

from tf_trpo.environments import EnvironmentFailedError, can_replay, make_vector_environment, open_vector_environment
from tf_trpo.environments.in_use import check_free


def cartpoles():
    return SyncVectorEnv([lambda: gym.make("CartPole-v1")] * 2)


def test_a_vector_environment_has_one_user_at_a_time():
    vector = cartpoles()
    for _ in range(2):
        with open_vector_environment(vector, 1) as environments:
            environments.reset(seed=0)
            for same in (vector, VectorWrapper(vector), SyncVectorEnv([lambda: vector.envs[1]])):
                with pytest.raises(ValueError, match="in use by a fit or an evaluation that has not ended"):
                    check_free(same)
                with pytest.raises(ValueError, match="in use"), open_vector_environment(same, 1):
                    pass
            with open_vector_environment(cartpoles(), 1):
                pass
    check_free(vector)


def test_nobody_else_may_step_or_reset_it_meanwhile():
    vector, actions = cartpoles(), np.zeros(2, np.int64)
    with open_vector_environment(vector, 1) as environments:
        first, _ = environments.reset(seed=3)
        inside = vector.envs[0]
        for name, call in (
            ("reset", vector.reset),
            ("reset", VectorWrapper(vector).reset),
            ("step", lambda: vector.step(actions)),
            ("reset", inside.reset),
            ("reset", inside.unwrapped.reset),
            ("step", lambda: inside.step(0)),
        ):
            with pytest.raises(RuntimeError, match=f"^{name} of an environment that a fit or an evaluation"):
                call()
        # A copy is not in use.
        for copied in (copy.deepcopy(inside), pickle.loads(pickle.dumps(inside.unwrapped))):
            copied.reset(seed=5)
            copied.step(0)
            assert copied.unwrapped.step.func.__self__ is copied.unwrapped
        second = environments.step(actions)[0]
    np.testing.assert_array_equal(vector.reset(seed=3)[0], first)
    np.testing.assert_array_equal(vector.step(actions)[0], second)


def test_methods_that_were_set_on_an_object_are_restored():
    vector = cartpoles()
    objects = [vector, vector.envs[0].unwrapped]
    for each in objects:
        each.step = functools.partial(type(each).step, each)
    before = [vars(each)["step"] for each in objects]
    with open_vector_environment(vector, 1) as environments:
        environments.reset(seed=0)
        environments.step(np.zeros(2, np.int64))
    for each, method in zip(objects, before, strict=True):
        assert vars(each)["step"] is method
        assert "reset" not in vars(each)


def test_an_environment_may_occur_only_once_in_a_vector_environment():
    env = gym.make("CartPole-v1")
    vector = SyncVectorEnv([lambda: env])
    with open_vector_environment(vector, 1), pytest.raises(ValueError, match="CartPoleEnv object that a fit or an ev"):
        make_vector_environment(lambda: gym.wrappers.TimeLimit(env, 3))
    with pytest.raises(ValueError, match="has the same environment object twice"):
        make_vector_environment(SyncVectorEnv([lambda: env] * 2))
    with open_vector_environment(lambda: env, 1), pytest.raises(ValueError, match="is in use by a fit or"):
        check_free(vector)


def test_replay_and_partial_resets_stay_possible():
    with open_vector_environment(make_vector_environment("CartPole-v1", 2), 1) as environments:
        assert can_replay(environments)


def test_a_closed_vector_environment_is_refused():
    vector = cartpoles()
    vector.close()
    with pytest.raises(ValueError, match="the vector environment is closed: make a new one"):
        make_vector_environment(vector)
    with pytest.raises(ValueError, match="the vector environment is closed"):
        make_vector_environment(VectorWrapper(vector))


@pytest.mark.parametrize("backend", ["sync", "async"])
def test_a_function_must_make_a_new_environment_at_every_call(backend):
    env = gym.make("CartPole-v1")
    with pytest.raises((ValueError, EnvironmentFailedError), match="gave the same CartPoleEnv object twice"):
        make_vector_environment(lambda: env, 2, backend=backend)
    # Even after it was closed.
    other = gym.make("CartPole-v1")
    make_vector_environment(lambda: other).close()
    with pytest.raises(ValueError, match="the same CartPoleEnv object twice"):
        make_vector_environment(lambda: gym.wrappers.TimeLimit(other, 3))

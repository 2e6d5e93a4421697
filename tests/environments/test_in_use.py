"""An environment has one user at a time, and none after it was closed."""

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


def test_nobody_else_steps_or_resets_it_meanwhile():
    vector, actions = cartpoles(), np.zeros(2, np.int64)
    with open_vector_environment(vector, 1) as environments:
        first, _ = environments.reset(seed=3)
        for call in (vector.reset, VectorWrapper(vector).reset, lambda: vector.step(actions)):
            with pytest.raises(RuntimeError, match="of a vector environment that a fit or an evaluation is using"):
                call()
        second = environments.step(actions)[0]
    np.testing.assert_array_equal(vector.reset(seed=3)[0], first)
    np.testing.assert_array_equal(vector.step(actions)[0], second)


def test_what_a_source_can_do_with_it_stays():
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


def test_a_function_that_gives_its_environment_again_after_it_was_closed_is_refused():
    env = gym.make("CartPole-v1")
    make_vector_environment(lambda: env).close()
    with pytest.raises(ValueError, match="the same CartPoleEnv object twice"):
        make_vector_environment(lambda: gym.wrappers.TimeLimit(env, 3))

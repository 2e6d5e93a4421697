"""The vector environment without infos does what Gymnasium's does, bit for bit."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from tf_trpo.environments.sync import BareSyncVectorEnv

# Short episodes, so that terminations, truncations and resets are among the steps.
ENVIRONMENTS = {
    "CartPole-v1": {"max_episode_steps": 15},
    "Pendulum-v1": {"max_episode_steps": 7},
    "FrozenLake-v1": {},
}


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_steps_are_those_of_gymnasium(name, num_envs):
    def make():
        return gym.make(name, **ENVIRONMENTS[name])

    own = BareSyncVectorEnv([make] * num_envs, copy=False)
    gymnasium = SyncVectorEnv([make] * num_envs, autoreset_mode=AutoresetMode.NEXT_STEP)
    np.testing.assert_array_equal(own.reset(seed=3)[0], gymnasium.reset(seed=3)[0])
    own.action_space.seed(0)
    endings = 0
    for _ in range(100):
        actions = own.action_space.sample()
        for mine, theirs in zip(own.step(actions)[:4], gymnasium.step(actions)[:4], strict=True):
            np.testing.assert_array_equal(mine, theirs)
            assert mine.dtype == theirs.dtype
            endings += theirs.sum() if theirs.dtype == bool else 0
    assert endings >= 3


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_resets_of_some_are_those_of_gymnasium(name):
    def make():
        return gym.make(name, **ENVIRONMENTS[name])

    own = BareSyncVectorEnv([make] * 4, copy=False)
    gymnasium = SyncVectorEnv([make] * 4, autoreset_mode=AutoresetMode.NEXT_STEP)
    np.testing.assert_array_equal(own.reset(seed=3)[0], gymnasium.reset(seed=3)[0])
    own.action_space.seed(0)
    rng, ended, ended_and_chosen = np.random.default_rng(1), np.zeros(4, bool), 0
    for _ in range(60):
        chosen = rng.random(4) < 0.3
        chosen[rng.integers(4)] = True
        # Gymnasium takes the mask out of the options.
        mine, theirs = (vector.reset(options={"reset_mask": chosen})[0] for vector in (own, gymnasium))
        np.testing.assert_array_equal(mine, theirs)
        ended_and_chosen += (ended & chosen).sum()
        for _ in range(3):
            actions = own.action_space.sample()
            step = gymnasium.step(actions)[:4]
            for mine, theirs in zip(own.step(actions)[:4], step, strict=True):
                np.testing.assert_array_equal(mine, theirs)
            ended = step[2] | step[3]
    assert ended_and_chosen > 0


def test_arrays_are_shared_between_steps_only_if_asked():
    for copy in (False, True):
        environments = BareSyncVectorEnv([lambda: gym.make("CartPole-v1")] * 2, copy=copy)
        environments.reset(seed=0)
        first, second = environments.step(np.array([0, 1])), environments.step(np.array([1, 0]))
        assert all(np.shares_memory(a, b) is not copy for a, b in zip(first[:4], second[:4], strict=True))
        assert first[4] == {}

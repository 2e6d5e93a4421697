"""The faster vector environment agrees with Gymnasium's bit for bit."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from tf_trpo.environments.sync import BareSyncVectorEnv

# Short episodes, with terminations, truncations and resets.
ENVIRONMENTS = {
    "CartPole-v1": {"max_episode_steps": 15},
    "Pendulum-v1": {"max_episode_steps": 7},
    "FrozenLake-v1": {},
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_steps_and_partial_resets_are_those_of_gymnasium(name):
    def make():
        return gym.make(name, **ENVIRONMENTS[name])

    own = BareSyncVectorEnv([make] * 4)
    gymnasium = SyncVectorEnv([make] * 4, autoreset_mode=AutoresetMode.NEXT_STEP)
    np.testing.assert_array_equal(own.reset(seed=3)[0], gymnasium.reset(seed=3)[0])
    own.action_space.seed(0)
    rng, ended, endings, ended_and_chosen = np.random.default_rng(1), np.zeros(4, bool), 0, 0
    for step in range(150):
        if step % 5 == 4:
            chosen = rng.random(4) < 0.3
            chosen[rng.integers(4)] = True
            # Gymnasium removes the mask from the options.
            mine, theirs = (vector.reset(options={"reset_mask": chosen})[0] for vector in (own, gymnasium))
            np.testing.assert_array_equal(mine, theirs)
            ended_and_chosen += (ended & chosen).sum()
        actions = own.action_space.sample()
        mine = own.step(actions)[:4]
        theirs = gymnasium.step(actions)[:4]
        for one, other in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(one, other, strict=True)
        ended = theirs[2] | theirs[3]
        endings += ended.sum()
    assert endings > 4
    assert ended_and_chosen > 0

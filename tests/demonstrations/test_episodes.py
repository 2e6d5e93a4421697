"""Demonstrations as a rollout: the rows, one by one."""

import gymnasium as gym
import numpy as np
import pytest

import tf_trpo
from tf_trpo.demonstrations import Demonstrations, Episode, record
from tf_trpo.models import PolicySettings


def test_the_rollout_has_the_episodes_in_order_each_followed_by_a_row_that_is_not_a_step(walk, stray):
    policy = tf_trpo.TRPO.for_env(walk, policy=PolicySettings((4,))).policy
    shown = record(stray, walk, 6, seed=1)
    assert {episode.terminated for episode in shown.episodes} == {True, False}
    rollout = shown.rollout(policy)
    row = 0
    for episode in shown.episodes:
        for step in range(len(episode.rewards)):
            last = step == len(episode.rewards) - 1
            assert rollout.valid[row, 0]
            assert rollout.observations["at"][row, 0] == episode.observations["at"][step]
            np.testing.assert_array_equal(rollout.observations["seen"][row, 0], episode.observations["seen"][step])
            # Sampled actions count from 0.
            assert rollout.actions[row, 0] == episode.actions[step] - 5
            assert rollout.rewards[row, 0] == episode.rewards[step]
            assert rollout.terminated[row, 0] == (last and episode.terminated)
            assert rollout.truncated[row, 0] == (last and not episode.terminated)
            row += 1
        assert not rollout.valid[row, 0]
        assert rollout.observations["at"][row, 0] == episode.observations["at"][-1]
        assert not rollout.terminated[row, 0] | rollout.truncated[row, 0]
        row += 1
    assert len(rollout.valid) == row == len(rollout.observations["at"]) - 1


def test_other_spaces_and_broken_episodes_are_refused(walk, stray):
    policy = tf_trpo.TRPO.for_env("CartPole-v1", policy=PolicySettings((4,))).policy
    shown = record(stray, walk, 1)
    with pytest.raises(ValueError, match=r"the agent observes .*, the demonstrations show "):
        shown.rollout(policy)
    spaces = shown.observation_space, shown.action_space
    with pytest.raises(ValueError, match="demonstrations need an episode"):
        Demonstrations(*spaces, [])
    [episode] = shown.episodes
    for broken in (episode._replace(actions=episode.actions[1:]), episode._replace(rewards=episode.rewards[:0])):
        with pytest.raises(ValueError, match=r"episode 0 has \d rewards, \[\d\] actions and \[\d\] observations"):
            Demonstrations(*spaces, [broken])
    numbers = gym.spaces.Box(-1, 1, (4,))
    nan = Episode(np.full((2, 4), np.nan), np.array([1]), np.ones(1), True)
    with pytest.raises(ValueError, match="not finite"):
        Demonstrations(numbers, gym.spaces.Discrete(2), [nan]).rollout(policy)

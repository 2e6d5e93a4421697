"""Demonstrations as a rollout: the rows, one by one."""

import contextlib
import dataclasses

import gymnasium as gym
import numpy as np
import pytest

import tf_trpo
from tf_trpo.demonstrations import Demonstrations, Episode, record
from tf_trpo.models import PolicySettings
from tf_trpo.models.making import make_policy


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


@pytest.mark.parametrize(
    ("space", "good", "bad"),
    [
        (gym.spaces.Discrete(2, start=5), [5, 6], [4, 5]),
        (gym.spaces.Discrete(2, start=5), [5, 6], [5.0, 5.5]),
        (gym.spaces.MultiDiscrete([2, 3], start=[0, 7]), [[1, 9], [0, 7]], [[1, 9], [0, 6]]),
        (gym.spaces.MultiBinary(2), [[1, 0], [1, 1]], [[1, 0], [2, 1]]),
        (gym.spaces.Box(0, 3, (1,), np.int32), [[0], [3]], [[0], [4]]),
        (gym.spaces.Box(-1, 1, (1,)), [[0.0], [1.5]], [[0.0], [np.inf]]),
        (gym.spaces.Box(-1, 1, (1,)), [[0.0], [1.5]], [[0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]),
        (gym.spaces.Box(-1, 1, (1,)), [[0.0], [1.5]], [["left"], ["right"]]),
        (gym.spaces.Discrete(2), [0, 1], [[0], [1]]),
    ],
    ids=lambda space: type(space).__name__ if isinstance(space, gym.Space) else "",
)
def test_actions_outside_of_the_space_are_refused(space, good, bad):
    """Alone, and in a Dict of a Tuple."""
    spaces = gym.spaces.Box(-1, 1, (1,)), gym.spaces.Dict(a=gym.spaces.Tuple([space, gym.spaces.Discrete(1)]))
    for actions, fits in ((good, True), (bad, False)):
        flat = Episode(np.zeros((3, 1)), np.array(actions), np.zeros(2), True)
        nested = flat._replace(actions={"a": (np.array(actions), np.zeros(2, int))})
        for action_space, episode in ((space, flat), (spaces[1], nested)):
            with contextlib.nullcontext() if fits else pytest.raises(ValueError, match="action that does not lie in"):
                Demonstrations(spaces[0], action_space, [episode])


@pytest.mark.parametrize("space", [gym.spaces.Box(-1, 1, (1,)), gym.spaces.Dict(b=gym.spaces.Discrete(2))])
def test_actions_of_another_structure_are_refused(space):
    actions = {"a": np.zeros((2, 1))}
    with pytest.raises(ValueError, match="action that does not lie in"):
        Demonstrations(gym.spaces.Box(-1, 1, (1,)), space, [Episode(np.zeros((3, 1)), actions, np.zeros(2), True)])


def test_actions_that_the_mask_forbids_are_refused():
    observations = gym.spaces.Dict(at=gym.spaces.Box(-1, 1, (1,)), action_mask=gym.spaces.MultiBinary(3))
    policy = make_policy(PolicySettings((4,)), observations, gym.spaces.Discrete(3), seed=0)
    seen = {"at": np.zeros((3, 1), np.float32), "action_mask": np.array([[1, 0, 1], [1, 1, 0], [0, 0, 1]], np.int8)}
    allowed = Episode(seen, np.array([0, 1]), np.zeros(2), True)
    shown = Demonstrations(observations, gym.spaces.Discrete(3), [allowed])
    assert shown.rollout(policy).actions.ravel().tolist()[:2] == [0, 1]
    forbidden = dataclasses.replace(shown, episodes=[allowed, allowed._replace(actions=np.array([0, 2]))])
    with pytest.raises(ValueError, match="episode 1 has an action that the observation's action mask forbids"):
        forbidden.rollout(policy)


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
    for message, broken in {
        "reward that is not finite": episode._replace(rewards=np.full_like(episode.rewards, np.nan)),
        r"action that does not lie in Discrete\(2, start=5\)": episode._replace(actions=episode.actions + 2),
    }.items():
        with pytest.raises(ValueError, match=f"episode 0 has an? {message}"):
            Demonstrations(*spaces, [broken])
    numbers = gym.spaces.Box(-1, 1, (4,))
    nan = Episode(np.full((2, 4), np.nan), np.array([1]), np.ones(1), True)
    with pytest.raises(ValueError, match="not finite"):
        Demonstrations(numbers, gym.spaces.Discrete(2), [nan]).rollout(policy)

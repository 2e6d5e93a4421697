"""Every row of the collector's rollouts against episodes that are written down in advance."""

from typing import NamedTuple

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import TransformReward

from tf_trpo.environments import make_vector_environment
from tf_trpo.rollouts import Collector, EpisodeTracker
from tf_trpo.rollouts.actor import Actions

# For each environment, its episodes: how many steps, and how they end. They begin again from the first.
SCRIPTS = (
    ((3, "terminated"), (1, "truncated"), (5, "truncated")),
    ((1, "terminated"), (1, "terminated"), (2, "both"), (7, "terminated")),
    ((1000, "truncated"),),
    ((4, "truncated"),),
)


class Scripted(gym.Env):
    """Observes (environment, episode, step), and pays 100 (episode + 1) + step for the step-th step, from 0."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (3,))
    action_space = gym.spaces.Box(-0.5, 0.5, (2,))

    def __init__(self, number):
        self.number = number
        self.episode = -1
        self.step_in_episode = 0
        self.actions = []
        self.seeds = []

    def _observation(self):
        return np.array([self.number, self.episode, self.step_in_episode], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seeds.append(seed)
        self.episode += 1
        self.step_in_episode = 0
        return self._observation(), {}

    def step(self, action):
        length, ending = SCRIPTS[self.number][self.episode % len(SCRIPTS[self.number])]
        reward = 100.0 * (self.episode + 1) + self.step_in_episode
        self.actions.append(np.array(action))
        self.step_in_episode += 1
        ended = self.step_in_episode == length
        return self._observation(), reward, ended and ending != "truncated", ended and ending != "terminated", {}


class Row(NamedTuple):
    observation: tuple
    reward: float
    terminated: bool
    truncated: bool
    valid: bool


def scripted_rows(number, count):
    """The rows of one environment, by its script: the steps of each episode, and a row for the reset."""
    rows = []
    episode = 0
    while len(rows) < count:
        length, ending = SCRIPTS[number][episode % len(SCRIPTS[number])]
        for step in range(length):
            last = step == length - 1
            terminated, truncated = last and ending != "truncated", last and ending != "terminated"
            rows.append(Row((number, episode, step), 100 * (episode + 1) + step, terminated, truncated, True))
        rows.append(Row((number, episode, length), 0, False, False, False))
        episode += 1
    return rows[:count]


def actor(observations, noise):
    return Actions(noise, noise.clip(-0.5, 0.5))


def make_collector(numbers=(0, 1, 2, 3), backend="sync", seed=None):
    def factory(number):
        return lambda: Scripted(number)

    if backend == "sync":
        environments = SyncVectorEnv([factory(number) for number in numbers], copy=False)
    else:
        environments = gym.vector.AsyncVectorEnv(
            [factory(number) for number in numbers], copy=False, autoreset_mode=AutoresetMode.NEXT_STEP
        )
    return Collector(make_vector_environment(environments), actor, seed=seed), environments


def noise_rows(num_steps, num_envs=4, seed=0):
    return np.random.default_rng(seed).standard_normal((num_steps, num_envs, 2)).astype(np.float32)


def column(rows, name):
    """[T, B] of one attribute from rows [B][T]."""
    return np.array([[getattr(row, name) for row in of_one] for of_one in rows]).swapaxes(0, 1)


@pytest.mark.parametrize("num_steps", [1, 2, 3, 4, 5, 7, 24])
def test_every_row_of_consecutive_rollouts_is_as_scripted(num_steps):
    collector, _ = make_collector()
    rollouts = -(-48 // num_steps)
    rows = [scripted_rows(number, rollouts * num_steps + 1) for number in range(len(SCRIPTS))]
    for start in range(0, rollouts * num_steps, num_steps):
        rollout = collector.collect(noise_rows(num_steps))
        here = [of_one[start : start + num_steps] for of_one in rows]
        with_next = [of_one[start : start + num_steps + 1] for of_one in rows]
        np.testing.assert_array_equal(rollout.observations, column(with_next, "observation"))
        np.testing.assert_array_equal(rollout.rewards, column(here, "reward"))
        np.testing.assert_array_equal(rollout.terminated, column(here, "terminated"))
        np.testing.assert_array_equal(rollout.truncated, column(here, "truncated"))
        np.testing.assert_array_equal(rollout.valid, column(here, "valid"))


@pytest.mark.parametrize(
    ("num_steps", "last_row", "first_row_valid"),
    [(4, "ending", False), (5, "reset", True), (6, "step", True)],
)
def test_a_rollout_may_stop_at_an_ending_at_a_reset_and_within_an_episode(num_steps, last_row, first_row_valid):
    collector, _ = make_collector([3])  # episodes of 4 steps and a row for the reset
    first = collector.collect(noise_rows(num_steps, 1))
    second = collector.collect(noise_rows(num_steps, 1))
    ended = (first.terminated | first.truncated)[-1, 0]
    assert {"ending": ended, "reset": not first.valid[-1, 0], "step": first.valid[-1, 0] and not ended}[last_row]
    assert second.valid[0, 0] == first_row_valid
    assert second.rewards[0, 0] == {"ending": 0, "reset": 200, "step": 201}[last_row]
    np.testing.assert_array_equal(first.observations[-1], second.observations[0])


def test_row_t_plus_1_is_the_final_observation_of_an_episode_and_not_the_next_start():
    collector, _ = make_collector([3])
    rollout = collector.collect(noise_rows(6, 1))
    assert rollout.truncated[3, 0]
    np.testing.assert_array_equal(rollout.observations[4, 0], [3, 0, 4])
    np.testing.assert_array_equal(rollout.observations[5, 0], [3, 1, 0])


@pytest.mark.parametrize("num_steps", [1, 4, 9])
def test_the_episodes_of_consecutive_rollouts_are_those_of_the_script(num_steps):
    collector, _ = make_collector()
    tracker = EpisodeTracker(len(SCRIPTS))
    finished = [[] for _ in SCRIPTS]
    for _ in range(36 // num_steps):
        for episodes, new in zip(finished, tracker.finished(collector.collect(noise_rows(num_steps))), strict=True):
            episodes.extend(new)
    for number, episodes in enumerate(finished):
        lengths = [length for length, _ in SCRIPTS[number]]
        for index, (episode_return, length) in enumerate(episodes):
            assert length == lengths[index % len(lengths)]
            assert episode_return == sum(100 * (index + 1) + step for step in range(length))
    assert [len(episodes) for episodes in finished] == [9, 11, 0, 7]


def test_what_a_wrapper_pays_for_the_row_of_a_reset_does_not_count():
    environments = TransformReward(SyncVectorEnv([lambda: Scripted(3)]), lambda rewards: rewards + 7)
    rollout = Collector(make_vector_environment(environments), actor).collect(noise_rows(6, 1))
    np.testing.assert_array_equal(rollout.rewards[:, 0], [107, 108, 109, 110, 0, 207])


def test_environments_in_processes_give_the_same_rows():
    collector, environments = make_collector(backend="async")
    try:
        reference, _ = make_collector()
        for seed in range(3):
            noise = noise_rows(9, seed=seed)
            for array, expected in zip(collector.collect(noise), reference.collect(noise), strict=True):
                np.testing.assert_array_equal(array, expected)
    finally:
        environments.close()


def test_actions_are_stored_as_sampled_and_the_environment_gets_them_clipped():
    collector, environments = make_collector()
    rollouts = [collector.collect(noise_rows(11, seed=seed)) for seed in range(3)]
    actions = np.concatenate([rollout.actions for rollout in rollouts])
    valid = np.concatenate([rollout.valid for rollout in rollouts])
    np.testing.assert_array_equal(actions, np.concatenate([noise_rows(11, seed=seed) for seed in range(3)]))
    assert np.abs(actions).max() > 1
    for number, environment in enumerate(environments.envs):
        # The action of a row that is no step is never given to the environment.
        expected = actions[valid[:, number], number].clip(-0.5, 0.5)
        np.testing.assert_array_equal(environment.actions, expected)


def test_the_environment_gets_actions_of_its_own_type():
    class Recorder(Scripted):
        action_space = gym.spaces.Box(-0.5, 0.5, (2,), np.float64)

    environments = SyncVectorEnv([lambda: Recorder(0)])
    Collector(environments, actor).collect(noise_rows(2, 1))
    assert environments.envs[0].actions[0].dtype == np.float64


def test_the_actor_sees_the_observation_of_its_row():
    seen = []

    def watching(observations, noise):
        seen.append(observations.copy())
        return actor(observations, noise)

    environments = SyncVectorEnv([lambda: Scripted(0), lambda: Scripted(1)], copy=False)
    rollout = Collector(environments, watching).collect(noise_rows(8, 2))
    np.testing.assert_array_equal(seen, rollout.observations[:-1])
    assert seen[0].dtype == np.float32


@pytest.mark.parametrize(("seed", "first"), [(11, [11, 12, 13, 14]), ([11, 5, 9, 2], [11, 5, 9, 2])], ids=str)
def test_the_first_reset_of_each_environment_is_seeded_and_no_other(seed, first):
    collector, environments = make_collector(seed=seed)
    collector.collect(noise_rows(10))
    assert [environment.seeds[0] for environment in environments.envs] == first
    assert {seed for environment in environments.envs for seed in environment.seeds[1:]} == {None}


def test_types_and_shapes():
    collector, _ = make_collector()
    rollout = collector.collect(noise_rows(6))
    assert {name: (array.dtype, array.shape) for name, array in rollout._asdict().items()} == {
        "observations": (np.float32, (7, 4, 3)),
        "actions": (np.float32, (6, 4, 2)),
        "rewards": (np.float64, (6, 4)),
        "terminated": (np.bool_, (6, 4)),
        "truncated": (np.bool_, (6, 4)),
        "valid": (np.bool_, (6, 4)),
    }


def test_a_later_rollout_leaves_an_earlier_one_as_it_was():
    collector, _ = make_collector()
    first = collector.collect(noise_rows(9, seed=1))
    copies = [array.copy() for array in first]
    second = collector.collect(noise_rows(9, seed=2))
    for array, copy in zip(first, copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    assert not any(np.shares_memory(array, other) for array in first for other in second)


def test_writing_into_a_rollout_does_not_change_the_next_one():
    collector, _ = make_collector()
    reference, _ = make_collector()
    spoiled = collector.collect(noise_rows(9))
    reference.collect(noise_rows(9))
    for array in spoiled:
        array[...] = 1
    for array, expected in zip(collector.collect(noise_rows(9)), reference.collect(noise_rows(9)), strict=True):
        np.testing.assert_array_equal(array, expected)


def test_discrete_actions_are_stored_and_given_as_numbers():
    environments = make_vector_environment("CartPole-v1", 2)

    def choose(observations, noise):
        sampled = (noise > 0).astype(np.int32)
        return Actions(sampled, sampled)

    noise = noise_rows(5, 2)[..., 0]
    rollout = Collector(environments, choose).collect(noise)
    np.testing.assert_array_equal(rollout.actions, noise > 0)
    assert rollout.actions.dtype == np.int32

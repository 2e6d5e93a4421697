"""Every row of consecutive rollouts against episodes that are written down in advance."""

import functools
from typing import NamedTuple

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import TransformReward

from tf_trpo.environments import EnvironmentFailedError, InvalidStepError, make_vector_environment
from tf_trpo.rollouts import EpisodeTracker
from tf_trpo.rollouts.actor import Actions
from tf_trpo.rollouts.stepping import collect_rollout
from tf_trpo.spaces import observation_spec

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
        self.steps = 0

    def _observation(self):
        return np.array([self.number, self.episode, self.step_in_episode], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode += 1
        self.step_in_episode = 0
        return self._observation(), {}

    def step(self, action):
        length, ending = SCRIPTS[self.number][self.episode % len(SCRIPTS[self.number])]
        reward = 100.0 * (self.episode + 1) + self.step_in_episode
        self.steps += 1
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


class Collector:
    """collect(noise): consecutive rollouts of the user's own vector environment."""

    def __init__(self, environments, act=actor):
        self.environments, self.actor = make_vector_environment(environments), act
        self.observations = self.environments.reset(seed=0)[0].astype(np.float32)
        self.just_ended = np.zeros(environments.num_envs, bool)

    def collect(self, noise):
        spec = observation_spec(self.environments.single_observation_space)
        rollout = collect_rollout(self.environments, self.actor, spec, self.observations, self.just_ended, noise)
        self.observations, self.just_ended = rollout.observations[-1], (rollout.terminated | rollout.truncated)[-1]
        return rollout


def vector(numbers=(0, 1, 2, 3)):
    makers = [functools.partial(Scripted, number) for number in numbers]
    return SyncVectorEnv(makers, copy=False, autoreset_mode=AutoresetMode.NEXT_STEP)


def noise_rows(num_steps, num_envs=4, seed=0):
    return np.random.default_rng(seed).standard_normal((num_steps, num_envs, 2)).astype(np.float32)


def column(rows, name):
    """[T, B] of one attribute from rows [B][T]."""
    return np.array([[getattr(row, name) for row in of_one] for of_one in rows]).swapaxes(0, 1)


@pytest.mark.parametrize("num_steps", [1, 2, 5, 24])
def test_every_row_of_consecutive_rollouts_is_as_scripted(num_steps):
    collector = Collector(vector())
    tracker, finished = EpisodeTracker(len(SCRIPTS)), [[] for _ in SCRIPTS]
    rollouts = -(-48 // num_steps)
    rows = [scripted_rows(number, rollouts * num_steps + 1) for number in range(len(SCRIPTS))]
    for start in range(0, rollouts * num_steps, num_steps):
        rollout = collector.collect(noise_rows(num_steps))
        here = [of_one[start : start + num_steps] for of_one in rows]
        with_next = [of_one[start : start + num_steps + 1] for of_one in rows]
        np.testing.assert_array_equal(rollout.observations, column(with_next, "observation"))
        for name in ("reward", "terminated", "truncated", "valid"):
            np.testing.assert_array_equal(getattr(rollout, "rewards" if name == "reward" else name), column(here, name))
        for episodes, new in zip(finished, tracker.finished(rollout), strict=True):
            episodes.extend(new)
    for number, episodes in enumerate(finished):
        lengths = [length for length, _ in SCRIPTS[number]]
        for index, (episode_return, length, *_) in enumerate(episodes):
            assert (type(length), length) == (int, lengths[index % len(lengths)])
            assert type(episode_return) is float
            assert episode_return == sum(100 * (index + 1) + step for step in range(length))
    assert [len(episodes) > 5 for episodes in finished] == [True, True, False, True]


def test_what_a_wrapper_pays_for_the_row_of_a_reset_does_not_count():
    rollout = Collector(TransformReward(vector([3]), lambda rewards: rewards + 7)).collect(noise_rows(6, 1))
    np.testing.assert_array_equal(rollout.rewards[:, 0], [107, 108, 109, 110, 0, 207])


class Faulty(Scripted):
    """Its third step is what it is told."""

    def __init__(self, number, fault):
        super().__init__(number)
        self.fault = fault

    def step(self, action):
        observation, reward, *rest = super().step(action)
        if self.steps == 3:
            if isinstance(self.fault, Exception):
                raise self.fault
            if self.fault == "reward":
                reward = -np.inf
            else:
                observation[1] = self.fault
        return observation, reward, *rest


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        (
            ZeroDivisionError("half"),
            EnvironmentFailedError,
            "the environments raised ZeroDivisionError: half, in .*2",
        ),
        (
            np.nan,
            InvalidStepError,
            r"environment 1 gave an observation that is not finite in float32 \(nan\), in row 2",
        ),
        ("reward", InvalidStepError, r"environment 1 gave a reward that is not finite in float32 \(-inf\), in row 2"),
    ],
    ids=["raises", "observation", "reward"],
)
def test_a_fault_is_named_with_its_row(fault, kind, message):
    collector = Collector(SyncVectorEnv([lambda: Scripted(2), lambda: Faulty(2, fault)]))
    with pytest.raises(kind, match=f"^{message}$"):
        collector.collect(noise_rows(5, 2))


def test_what_an_environment_does_after_an_observation_that_is_not_finite_is_not_its_fault():
    class Strict(Faulty):
        def step(self, action):
            if not np.isfinite(action).all():
                raise ValueError("no such action")
            return super().step(action)

    def follow(observations, noise):
        return Actions(noise, noise + observations[:, :2])

    collector = Collector(SyncVectorEnv([lambda: Strict(2, np.inf)]), follow)
    with pytest.raises(
        InvalidStepError, match=r"environment 0 gave an observation that is not finite in float32 \(inf\), in row 2"
    ):
        collector.collect(noise_rows(5, 1))

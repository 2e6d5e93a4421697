"""Episodes depend on seed, number and actions only, however they are begun."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv

from tf_trpo.environments import can_replay, make_vector_environment, replay_episodes
from tf_trpo.environments.episodes import REPLAY, SeededEpisodes

NUM_ENVS = 3
SEEDS = [7, 8, 100]


class Walk(gym.Env):
    """A random walk with a random start and a random end."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seed, self.options = seed, options
        self.position = self.np_random.normal(size=2)
        return self.position, {}

    def step(self, action):
        self.position = self.position + action + self.np_random.normal(size=2)
        return self.position, float(self.position[1]), bool(self.np_random.random() < 0.15), False, {}


def alone(seed, number):
    """An unwrapped environment at the start of an episode, and its observation."""
    environment = Walk()
    return environment, environment.reset(seed=split_mix(seed, number))[0]


def split_mix(seed, number):
    """The upper 31 bits of SplitMix64, by NumPy's 64-bit arithmetic."""
    with np.errstate(over="ignore"):
        word = np.uint64(seed) + np.uint64(number + 1) * np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            word = (word ^ (word >> np.uint64(shift))) * np.uint64(factor)
        return int((word ^ (word >> np.uint64(31))) >> np.uint64(33))


@pytest.fixture(params=["sync", "async"])
def make(request):
    """A function that makes vector environments, which are closed at the end."""
    made = []

    def make_environments(environment=Walk):
        made.append(make_vector_environment(environment, NUM_ENVS, backend=request.param))
        return made[-1]

    yield make_environments
    for environments in made:
        environments.close()


def started(environments, numbers):
    return replay_episodes(environments, SEEDS, [(number, ()) for number in numbers]).copy()


def test_autoreset_partial_resets_and_replays_agree_with_single_environments(make):
    environments, other = make(), make()
    rng = np.random.default_rng(0)
    numbers, actions, ended = [0] * NUM_ENVS, [[] for _ in SEEDS], np.zeros(NUM_ENVS, bool)
    references = [alone(seed, 0)[0] for seed in SEEDS]
    np.testing.assert_array_equal(environments.reset(seed=SEEDS)[0], [env.position for env in references])
    began, replayed = {"autoreset": 0, "reset": 0}, {True: 0, False: 0}

    def begin(index, how):
        numbers[index] += 1
        actions[index] = []
        references[index], _ = alone(SEEDS[index], numbers[index])
        began[how] += 1

    for step in range(100):
        chosen = rng.random(NUM_ENVS) < 0.1
        if chosen.any():
            observations, _ = environments.reset(options={"reset_mask": chosen})
            for index in np.flatnonzero(chosen):
                begin(index, "reset")
            ended &= ~chosen
            np.testing.assert_array_equal(observations, [env.position for env in references])
        given = rng.uniform(-1, 1, (NUM_ENVS, 1))
        observations, rewards, terminated, *_ = environments.step(given)
        for index, environment in enumerate(references):
            if ended[index]:
                begin(index, "autoreset")
                expected = 0.0, False
            else:
                expected = environment.step(given[index])[1:3]
                actions[index].append(given[index])
            assert (rewards[index], terminated[index]) == expected
        ended = terminated.copy()
        np.testing.assert_array_equal(observations, [env.position for env in references])
        if step % 4 == 0:
            again = replay_episodes(other, SEEDS, list(zip(numbers, actions, strict=True)))
            np.testing.assert_array_equal(again, observations)
            replayed[bool(ended.any())] += 1
            # From here on, the replayed environments replace the original ones.
            environments, other = other, environments
    assert min(*began.values(), *replayed.values()) > 5


def test_the_order_of_episodes_does_not_matter(make):
    environments = make()
    expected = [[alone(seed, number)[1] for seed in SEEDS] for number in range(8)]
    for number in (5, 0, 7, 7, 3):
        np.testing.assert_array_equal(started(environments, [number] * NUM_ENVS), expected[number])
    np.testing.assert_array_equal(started(environments, [2, 6, 4]), [expected[2][0], expected[6][1], expected[4][2]])
    # After a reset with a seed, the next episode is number 0.
    np.testing.assert_array_equal(environments.reset(seed=SEEDS)[0], expected[0])


def test_a_replay_of_an_episode_that_had_just_ended_continues_with_the_next():
    environment, twin = SeededEpisodes(Walk(), 1), alone(8, 4)[0]
    actions, terminated = [], False
    while not terminated:
        actions.append(np.array([0.3]))
        final, _, terminated, *_ = twin.step(actions[-1])
    plan = [(0, ()), (4, actions), (0, ())]
    observation, _ = environment.reset(seed=8, options={REPLAY: plan})
    np.testing.assert_array_equal(observation, final)
    observation, reward, terminated, truncated, _ = environment.step(np.array([1.0]))
    successor, start = alone(8, 5)
    np.testing.assert_array_equal(observation, start)
    assert (reward, terminated, truncated) == (0.0, False, False)
    np.testing.assert_array_equal(environment.step(np.array([1.0]))[0], successor.step(np.array([1.0]))[0])
    # A reset does the same as that step would have done.
    environment.reset(seed=8, options={REPLAY: plan})
    np.testing.assert_array_equal(environment.reset()[0], start)
    assert (environment.step(np.array([1.0]))[0] != start).all()


def test_episodes_of_neighbouring_seeds_have_different_seeds():
    environment, seeds = SeededEpisodes(Walk(), 0), set()
    for seed in range(20):
        for number in range(50):
            environment.reset(seed=seed if number == 0 else None)
            seeds.add(environment.unwrapped.seed)
    assert len(seeds) == 20 * 50
    assert 0 <= min(seeds) <= max(seeds) < 2**31


def test_episodes_without_a_seed_are_not_seeded_and_options_are_passed_on():
    environment = SeededEpisodes(Walk(), 0)
    environment.reset(options={"level": 3})
    assert (environment.unwrapped.seed, environment.unwrapped.options) == (None, {"level": 3})
    environment.reset(options={"level": 3, REPLAY: [(2, ())]})
    assert (environment.unwrapped.seed, environment.unwrapped.options) == (None, {"level": 3})
    environment.reset(seed=1, options={REPLAY: [(2, ())]})
    assert environment.unwrapped.seed is not None
    assert environment.unwrapped.options is None


def test_environments_made_by_the_library_can_replay_but_the_users_cannot():
    assert can_replay(make_vector_environment("FrozenLake-v1", 2))
    assert not can_replay(make_vector_environment(SyncVectorEnv([Walk])))


def test_nests_of_actions_are_replayed(make):
    class Pair(Walk):
        action_space = gym.spaces.Dict(a=Walk.action_space, b=gym.spaces.Tuple([gym.spaces.Discrete(3)]))

        def step(self, action):
            return super().step(action["a"] + action["b"][0])

    rng = np.random.default_rng(0)
    given = {"a": rng.uniform(-1, 1, (4, 1)), "b": (rng.integers(0, 3, 4),)}
    found = replay_episodes(make(Pair), [3, 4, 5], [(0, given), (0, ()), (2, ())])
    environment, _ = alone(3, 0)
    for row in range(4):
        environment.step(given["a"][row] + given["b"][0][row])
    np.testing.assert_array_equal(found[0], environment.position)


def test_an_environment_gets_no_options_where_none_were_given(make):
    """Gymnasium takes its own option, the mask, out of the options, and leaves an empty dictionary."""

    class Chosen(Walk):
        def reset(self, *, seed=None, options=None):
            observation, info = super().reset(seed=seed)
            return observation if options is None else np.array([options["start"], 0.0]), info

    environments = make(Chosen)
    environments.reset(seed=SEEDS)
    environments.reset(options={"reset_mask": np.array([True, False, True])})
    observations, _ = environments.reset(options={"start": 5.0, "reset_mask": np.array([True, True, False])})
    assert observations[:2, 0].tolist() == [5.0, 5.0]

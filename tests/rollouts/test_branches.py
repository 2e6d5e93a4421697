"""Branches of rollouts, compared with episodes replayed from their seeds; rollouts with and without branches."""

import gymnasium as gym
import numpy as np
import pytest

from tf_trpo.distributions import make_action_distribution
from tf_trpo.environments import InvalidStepError, make_vector_environment
from tf_trpo.environments.episodes import episode_seed
from tf_trpo.models.settings import PolicySettings
from tf_trpo.rollouts import LocalSource, Stream, environment_seeds
from tf_trpo.rollouts.actor import Actions
from tf_trpo.rollouts.vine import BranchNoise, Vine

NUM_ENVS, NUM_STEPS, SEED = 2, 30, 5


class Walk(gym.Env):
    """A random walk that terminates at random, or is truncated after 12 steps; the cost is |action|."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gym.spaces.Box(-0.5, 0.5, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.position = 0, self.np_random.normal(size=2)
        return self.observe(), {}

    def observe(self):
        return self.position

    def step(self, action):
        self.time += 1
        # In place, so that a saved state must be a copy.
        self.position += np.ravel(action)[0] + self.np_random.normal(size=2)
        ended, size = bool(self.np_random.random() < 0.1), abs(float(np.ravel(action)[0]))
        return self.observe(), float(self.position[0]), ended, self.time == 12, {"size": size}


class Masked(Walk):
    """The walk with three discrete actions; at random, a mask forbids one of them, or all."""

    observation_space = gym.spaces.Dict(
        place=gym.spaces.Box(-np.inf, np.inf, (2,), np.float64), action_mask=gym.spaces.MultiBinary(3)
    )
    action_space = gym.spaces.Discrete(3, start=-1)

    def observe(self):
        forbidden = self.np_random.integers(4)
        mask = np.int8([place != forbidden for place in range(3)]) if forbidden < 3 else np.zeros(3, np.int8)
        self.mask = mask
        return {"place": self.position, "action_mask": mask}

    def step(self, action):
        assert not self.mask.any() or self.mask[action + 1]
        return super().step(action)


class Linear:
    """A policy with a matrix [D, A] of weights and additive noise [B, A]; it follows action masks."""

    initial_states = ()

    def __init__(self, env):
        self.distribution = make_action_distribution(env.action_space, PolicySettings())

    def set_weights(self, weights):
        [self.matrix] = weights

    def __call__(self, observations, noise, states=()):
        is_masked = isinstance(observations, dict)
        outputs = np.tanh((observations["place"] if is_masked else observations) @ self.matrix) + noise
        if is_masked:
            mask = observations["action_mask"]
            outputs = np.where(mask | ~mask.any(axis=1, keepdims=True), outputs, -np.inf).argmax(axis=1)
        return Actions(outputs, self.for_environment(outputs))

    def for_environment(self, sampled):
        return self.distribution.environment_actions(sampled)


def make_source(make, vine=None):
    environments = make_vector_environment(make, NUM_ENVS, costs=("size",))
    return LocalSource(environments, Linear(make()), seed=SEED, vine=vine)


def noises(make, vine, number):
    rng, actions = np.random.default_rng(number), 3 if make is Masked else 1
    rows = vine.rows(NUM_STEPS, rng)
    shapes = (NUM_STEPS,), (vine.states, vine.actions), (vine.states, 1, vine.steps - 1)
    noise, first, later = (rng.standard_normal((*shape, NUM_ENVS, actions)) for shape in shapes)
    return noise, BranchNoise(rows, first, later)


def rows_of(nest, *place):
    return {name: rows_of(part, *place) for name, part in nest.items()} if isinstance(nest, dict) else nest[place]


def same(one, other):
    for part in one if isinstance(one, dict) else [()]:
        np.testing.assert_array_equal(*((nest[part] if part else nest) for nest in (one, other)))


def replayed(make, rollout, row, index, number):
    """Return a new environment in the state before a row of the rollout, and its observation."""
    begins = np.flatnonzero(~rollout.valid[:row, index])
    env = make()
    own = environment_seeds(SEED, Stream.ENVIRONMENTS, NUM_ENVS)[index]
    observation, _ = env.reset(seed=episode_seed(own, number + len(begins)))
    sampled = rollout.actions[(begins[-1] + 1 if len(begins) else 0) : row, index]
    for action in Linear(make()).for_environment(sampled):
        observation = env.step(action)[0]
    return env, observation


@pytest.mark.parametrize("make", [Walk, Masked])
def test_branches_equal_those_of_replayed_episodes(make):
    vine = Vine(8, 3, 5, tries_all=make is Masked)
    source, plain = make_source(make, vine), make_source(make)
    weights = [np.random.default_rng(0).standard_normal((2, 3 if make is Masked else 1))]
    noise, plan = noises(make, vine, 1)
    rollout, expected = source.collect(weights, noise, plan), plain.collect(weights, noise)
    taken, actor = rollout.branches, Linear(make())
    actor.set_weights(weights)
    for row, place in zip(taken.rows, range(8), strict=True):
        for index in range(NUM_ENVS):
            for k in range(3):
                at = place, index, k
                env, observation = replayed(make, rollout, row, index, 0)
                mask = observation["action_mask"] if make is Masked else np.ones(3)
                if not rollout.valid[row, index] or (mask.any() and not mask[k]):
                    assert taken.steps[at] == 0
                    assert not taken.rewards[at].any()
                    continue
                same(rows_of(rollout.observations, row, index), observation)
                batch = rows_of(rollout.observations, row)
                if vine.tries_all:
                    action = make.action_space.start + k
                else:
                    actions = actor(batch, plan.first[place, k])
                    np.testing.assert_array_equal(taken.actions[at], actions.sampled[index])
                    action = actions.environment[index]
                for step in range(int(taken.steps[at])):
                    observation, reward, terminated, truncated, info = env.step(action)
                    assert (taken.rewards[(*at, step)], taken.costs[(*at, step, 0)]) == (reward, info["size"])
                    # The other rows of the batch do not affect the environment's own row.
                    each = {
                        name: np.stack([part] * NUM_ENVS)
                        for name, part in ({"": observation} if make is Walk else observation).items()
                    }
                    later = plan.later[place, 0, step] if step < vine.steps - 1 else np.zeros_like(noise[0])
                    action = actor(each[""] if make is Walk else each, later).environment[index]
                ended = terminated or truncated
                assert taken.steps[at] == vine.steps or ended
                assert taken.terminated[at] == terminated
                assert not taken.rewards[at][taken.steps[at] :].any()
                same(rows_of(taken.observations, *at), observation)
    assert {0, 5} < set(taken.steps.ravel())
    # The branches change neither this rollout nor the next one.
    for number in (1, 2):
        for name in ("actions", "rewards", "terminated", "truncated", "valid", "costs"):
            np.testing.assert_array_equal(getattr(rollout, name), getattr(expected, name))
        same(rollout.observations, expected.observations)
        if number == 1:
            noise, plan = noises(make, vine, 2)
            rollout, expected = source.collect(weights, noise, plan), plain.collect(weights, noise)


def test_one_row_is_drawn_from_each_part_of_a_rollout():
    drawn = np.array([Vine(7, 2, 1, False).rows(30, np.random.default_rng(seed)) for seed in range(200)])
    bounds = np.arange(8) * 30 // 7
    for place in range(7):
        assert set(drawn[:, place]) == set(range(bounds[place], bounds[place + 1]))


def test_common_additive_noise_cancels_in_the_difference_of_two_branches():
    """With x' = x + a + w and reward x', the difference of two branches with common noise has no variance."""

    class Added(Walk):
        action_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float64)

        def step(self, action):
            self.position = self.position + action[0] + self.np_random.normal()
            return self.position, float(self.position[0]), False, False, {"size": 0.0}

    vine = Vine(200, 2, 4, tries_all=False)
    environments = make_vector_environment(Added, 1)
    source = LocalSource(environments, Linear(Added()), seed=SEED, vine=vine)
    weights, rng = [np.zeros((2, 1))], np.random.default_rng(0)
    first, later = 0.1 * rng.standard_normal((200, 2, 1, 1)), 0.1 * rng.standard_normal((200, 2, 3, 1, 1))
    found = []
    for common in (True, False):
        plan = BranchNoise(np.arange(200, dtype=np.int32), first, later[:, :1] if common else later)
        branches = source.collect(weights, np.zeros((200, 1, 1)), plan).branches
        returns = branches.rewards[:, 0].sum(axis=-1)
        by_action = 4 * (first[:, 0] - first[:, 1]).ravel()
        found.append(returns[:, 0] - returns[:, 1] - by_action)
    assert np.abs(found[0]).max() < 1e-12
    # In each of the two branches, the three later noises are in 3, 2 and 1 of the rewards.
    assert np.var(found[1]) == pytest.approx(2 * 0.01 * (9 + 4 + 1), rel=0.3)


def test_the_error_for_a_number_that_is_not_finite_names_the_branch():
    class Breaks(Walk):
        def step(self, action):
            observation, _, *rest = super().step(action)
            return observation, np.inf if action[0] > 0.4 else 0.0, *rest

    vine = Vine(2, 2, 3, tries_all=False)
    source = LocalSource(make_vector_environment(Breaks, 1), Linear(Breaks()), seed=SEED, vine=vine)
    plan = BranchNoise(np.int32([0, 1]), np.full((2, 2, 1, 1), 0.9), np.zeros((2, 1, 2, 1, 1)))
    with pytest.raises(
        InvalidStepError, match="environment 0 gave a number that is not finite in float32, in a branch, in row 0"
    ):
        source.collect([np.zeros((2, 1))], np.zeros((4, 1, 1)), plan)

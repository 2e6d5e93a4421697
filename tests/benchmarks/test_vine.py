"""The estimates of the benchmark `vine`, compared with those of the library."""

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

import tf_trpo
from benchmarks import vine
from tf_trpo.estimation import branch_returns, gae

RNG = np.random.default_rng(0)
LENGTHS = np.array([9, 4, 9, 1, 6, 8]).reshape(1, 3, 2)
TERMINATED = np.array([0, 1, 0, 0, 1, 1], bool).reshape(1, 3, 2)
REWARDS = RNG.normal(size=(1, 3, 2, 9)) * (np.arange(9) < LENGTHS[..., None])
PATHS = vine.Played(REWARDS, RNG.normal(size=(1, 3, 2, 10)), LENGTHS, TERMINATED, RNG.normal(size=(1, 3, 2, 4)), None)


def test_returns_equal_those_of_shortened_branches():
    for length in (1, 4, 9):
        steps = np.minimum(LENGTHS, length)
        last = np.take_along_axis(PATHS.values, steps[..., None], axis=-1)
        ended = TERMINATED & (length >= LENGTHS)
        flat = (REWARDS[..., :length].reshape(6, length), steps.ravel(), ended.ravel().astype(float), last.ravel())
        expected = branch_returns(*map(tf.constant, flat), gamma=vine.GAMMA)
        np.testing.assert_allclose(vine._discounted(PATHS, length).ravel(), expected)


def test_advantages_of_single_paths_equal_those_of_a_rollout():
    for row in range(3):
        length = LENGTHS[0, row, 0]
        ended = np.arange(length) == length - 1
        columns = [REWARDS[0, row, 0, :length], PATHS.values[0, row, 0, : length + 1]]
        columns += [ended * float(TERMINATED[0, row, 0]), ended * float(length < 9), np.ones(length)]
        expected = gae(*(tf.constant(column[:, None]) for column in columns), gamma=vine.GAMMA, gae_lambda=0.8)
        np.testing.assert_allclose(vine._gae(PATHS, 0.8)[0, row], expected[0, 0])


class Noise(gym.Env):
    """Each reward is the action plus a random number; no step is the last."""

    observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), float(action) + self.np_random.uniform(0, 0.5), False, False, {}


def test_the_noise_of_the_environment_is_drawn_again_and_common_to_branches():
    settings = vine.Vine(states=2, repetitions=40, actions=3, lengths=(2,), horizon=4)
    agent = tf_trpo.TRPO.for_env(Noise, seed=0)
    played = vine.Player(agent, Noise, settings).played()
    common, own, tried = (played[kind] for kind in ("common noise", "own noise", "all actions"))
    assert common.rewards.shape == tried.rewards.shape == (2, 40, 3, 4)
    np.testing.assert_array_equal(common.rewards[:, :, 1:, 2:], 0)
    # The fractional part of a reward is the environment's noise.
    noise, apart, third = (np.floor(1e9 * (paths.rewards[..., 0] % 1)) for paths in (common, own, tried))
    assert (abs(noise - noise[..., :1]) <= 2).all()
    assert (abs(third - noise[..., :1]) <= 2).all()
    assert len(np.unique(noise[..., 0])) == 80
    assert len(np.unique(apart)) == 240
    np.testing.assert_array_equal(np.floor(tried.rewards[..., 0]), np.broadcast_to(range(3), (2, 40, 3)))
    # The distribution, near to a uniform one, has the gradient onehot(a) - p of log p(a).
    probabilities = tried.probabilities[0, 0]
    np.testing.assert_allclose(tried.scores[0, 0], np.eye(3) - probabilities, atol=1e-6)
    # With common noise, all advantages of actions are exact; drawn actions still make noise.
    advantages = vine._of_branches(tried, 1)
    exact = np.arange(3) - probabilities @ np.arange(3)
    # V, of a single observation, is the same everywhere.
    np.testing.assert_allclose(advantages, np.broadcast_to(exact, advantages.shape), atol=1e-6)
    assert vine.variances_of(vine.gradients_of(tried, advantages)) == pytest.approx((0, 0), abs=1e-12)
    assert vine.variances_of(vine.gradients_of(common, vine._of_branches(common, 1)))[0] > 0.01


def test_noise_and_spread_are_recovered_from_gradients_made_of_both():
    """400 states with gradients of variance 4 + 1 between them, and of noise 9 + 2 in each of 6 repetitions."""
    rng = np.random.default_rng(1)
    between = rng.normal(size=(400, 1, 1, 2)) * [2.0, 1.0]
    # Two branches with opposite advantages.
    scores = between + rng.normal(size=(400, 6, 1, 2)) * [3.0, 2**0.5]
    paths = PATHS._replace(scores=np.concatenate([scores, -scores], axis=2))
    noise, spread = vine.variances_of(vine.gradients_of(paths, np.broadcast_to([3.0, 1.0], (400, 6, 2))))
    assert noise == pytest.approx(11, rel=0.1)
    assert spread == pytest.approx(5, rel=0.2)
    tries_all = paths._replace(probabilities=np.broadcast_to([0.25, 0.75], (400, 6, 2)))
    # The mean of the advantages is 0, and the gradient is 0.25 * 3 + 0.75 * 1 times the score.
    noise, spread = vine.variances_of(vine.gradients_of(tries_all, np.broadcast_to([3.0, -1.0], (400, 6, 2))))
    assert noise == pytest.approx(11 * 1.5**2, rel=0.1)
    assert spread == pytest.approx(5 * 1.5**2, rel=0.2)

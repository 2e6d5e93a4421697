"""The estimates of the benchmark `vine`, compared with those of the library."""

import numpy as np
import tensorflow as tf

from benchmarks import vine
from tf_trpo.estimation import branch_returns, gae

RNG = np.random.default_rng(0)
LENGTHS = np.array([9, 4, 9, 1, 6, 8]).reshape(1, 3, 2)
TERMINATED = np.array([0, 1, 0, 0, 1, 1], bool).reshape(1, 3, 2)
REWARDS = RNG.normal(size=(1, 3, 2, 9)) * (np.arange(9) < LENGTHS[..., None])
PATHS = vine._Played(REWARDS, RNG.normal(size=(1, 3, 2, 10)), LENGTHS, TERMINATED)


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
        np.testing.assert_allclose(vine._gae(PATHS, 0.8, 9)[0, row], expected[0, 0])

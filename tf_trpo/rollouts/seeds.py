"""Every random choice as a function of (seed, stream, position)."""

from __future__ import annotations

import enum

import numpy as np

from tf_trpo.lazy import tensorflow as tf


class Stream(enum.IntEnum):
    """What the random numbers are for; no two streams share any."""

    ACTIONS = 1
    MINIBATCHES = 2
    ENVIRONMENTS = 3
    EVALUATION_ACTIONS = 4
    EVALUATION_ENVIRONMENTS = 5
    PREDICTIONS = 6
    BRANCHES = 7
    BRANCH_ACTIONS = 8


def operation_seed(seed: int, stream: Stream, position: int = 0) -> tf.Tensor:
    """Make the seed, int32 [2], of a stateless TensorFlow operation."""
    return tf.constant(_sequence(seed, stream, position).generate_state(2).astype(np.int32))


def numpy_generator(seed: int, stream: Stream, position: int = 0) -> np.random.Generator:
    """Make a generator of NumPy's random numbers."""
    return np.random.default_rng(_sequence(seed, stream, position))


def environment_seeds(seed: int, stream: Stream, num_envs: int, position: int = 0) -> list[int]:
    """Make a seed for each environment. Neighbouring seeds have none in common, unlike seed + i."""
    return [int(word >> 1) for word in _sequence(seed, stream, position).generate_state(num_envs)]


def _sequence(seed: int, stream: Stream, position: int) -> np.random.SeedSequence:
    # Without the 0, all random numbers would be others.
    return np.random.SeedSequence([seed, int(stream), position, 0])

"""Random seeds and generators as functions of (seed, stream, position)."""

from __future__ import annotations

import enum

import numpy as np

from tf_trpo.lazy import tensorflow as tf


class Stream(enum.IntEnum):
    """Purpose of random numbers; no two streams share any."""

    ACTIONS = 1
    MINIBATCHES = 2
    ENVIRONMENTS = 3
    EVALUATION_ACTIONS = 4
    EVALUATION_ENVIRONMENTS = 5
    PREDICTIONS = 6
    BRANCHES = 7
    BRANCH_ACTIONS = 8


def operation_seed(seed: int, stream: Stream, position: int = 0) -> tf.Tensor:
    """Make a seed, int32 [2], for a stateless TensorFlow operation."""
    return tf.constant(_sequence(seed, stream, position).generate_state(2).astype(np.int32))


def numpy_generator(seed: int, stream: Stream, position: int = 0) -> np.random.Generator:
    """Make a NumPy random generator."""
    return np.random.default_rng(_sequence(seed, stream, position))


def environment_seeds(seed: int, stream: Stream, num_envs: int, position: int = 0, *, began_at: int = 0) -> list[int]:
    """Make a seed for each environment. Unlike with seed + i, two neighbouring seeds have none in common.

    Args:
      began_at: the agent's iterations when the fit began; two fits of an agent share no seeds.
    """
    return [int(word >> 1) for word in _sequence(seed, stream, position, began_at).generate_state(num_envs)]


def _sequence(seed: int, stream: Stream, position: int, began_at: int = 0) -> np.random.SeedSequence:
    return np.random.SeedSequence([seed, int(stream), position, began_at])

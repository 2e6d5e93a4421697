"""Environments in processes of their own do what environments in this process do."""

import gymnasium as gym
import numpy as np
import pytest

from tf_trpo.environments import make_vector_environment
from tf_trpo.rollouts import Collector
from tf_trpo.rollouts.actor import Actions


def short_pendulum():
    return gym.make("Pendulum-v1", max_episode_steps=6)


def random_discrete(observations, noise):
    actions = (noise > 0.5).astype(np.int64)
    return Actions(actions, actions)


def feedback(observations, noise):
    """Depends on the observation, so that any difference grows."""
    actions = (observations[:, 1:2] + noise[:, None]).astype(np.float32)
    return Actions(actions, actions.clip(-2, 2))


def rollouts(backend, environment, actor, seed):
    environments = make_vector_environment(environment, 3, backend=backend)
    try:
        collector = Collector(environments, actor, seed=seed)
        noise = np.random.default_rng(1).random((4, 25, 3))
        return [collector.collect(rows) for rows in noise]
    finally:
        environments.close()


@pytest.mark.parametrize(
    ("environment", "actor"), [("CartPole-v1", random_discrete), (short_pendulum, feedback)], ids=["id", "factory"]
)
def test_async_gives_the_rollouts_of_sync(environment, actor):
    expected = rollouts("sync", environment, actor, seed=3)
    for rollout, reference in zip(rollouts("async", environment, actor, seed=3), expected, strict=True):
        for array, reference_array in zip(rollout, reference, strict=True):
            np.testing.assert_array_equal(array, reference_array)
    assert not all(rollout.valid.all() for rollout in expected), "no episode ended: nothing was tested"


def test_another_seed_gives_other_rollouts():
    first, second = (rollouts("sync", "CartPole-v1", random_discrete, seed=seed)[0] for seed in (3, 4))
    assert not np.array_equal(first.observations[0], second.observations[0])


def test_each_environment_has_its_own_random_start():
    start = rollouts("sync", "CartPole-v1", random_discrete, seed=3)[0].observations[0]
    assert len(np.unique(start, axis=0)) == 3

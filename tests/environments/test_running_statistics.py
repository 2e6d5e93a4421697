"""Wrappers with running statistics are found around environments and vector environments."""

import gymnasium as gym
import pytest
from gymnasium.wrappers import NormalizeObservation, NormalizeReward, TimeLimit
from gymnasium.wrappers.vector import NormalizeObservation as OfVectors
from gymnasium.wrappers.vector import NormalizeReward as OfVectorsRewards

from tf_trpo.environments import make_vector_environment
from tf_trpo.environments.running_statistics import running_statistics

REWARDS = "the logged returns are not the environment's"


def cartpole():
    return gym.make("CartPole-v1")


def together(make):
    return gym.vector.SyncVectorEnv([make, make])


class Mine(NormalizeReward):
    """A class of a user."""


@pytest.mark.parametrize(
    ("make", "names", "is_of_rewards"),
    [
        (lambda: NormalizeObservation(cartpole()), "NormalizeObservation", False),
        (lambda: TimeLimit(NormalizeReward(cartpole()), 9), "NormalizeReward", True),
        (lambda: Mine(NormalizeObservation(cartpole())), "Mine and NormalizeObservation", True),
        (lambda: together(lambda: NormalizeReward(cartpole())), "NormalizeReward", True),
        (lambda: OfVectors(together(cartpole)), "NormalizeObservation", False),
        (lambda: make_vector_environment(OfVectorsRewards(together(cartpole))), "NormalizeReward", True),
        (
            lambda: make_vector_environment(cartpole, 2, wrappers=[NormalizeObservation], info_keys=["a"]),
            "NormalizeObservation",
            False,
        ),
    ],
)
def test_the_wrappers_are_named(make, names, is_of_rewards):
    env = make()
    found = running_statistics(env)
    env.close()
    assert found.startswith(f"it has running statistics ({names}): ")
    assert (REWARDS in found) == is_of_rewards


def test_other_wrappers_have_none():
    env = make_vector_environment(cartpole, 2, wrappers=[lambda env: TimeLimit(env, 9)])
    assert running_statistics(env) is None
    env.close()

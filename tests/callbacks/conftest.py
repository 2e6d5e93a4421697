"""Fixtures of tests of callbacks: agents that train quickly and share one traced update."""

import pytest

import tf_trpo
from tf_trpo.learning.settings import UpdateSettings
from tf_trpo.models.settings import PolicySettings, ValueSettings


@pytest.fixture(scope="session")
def small_agent():
    """small_agent(environment): an agent with few weights; rollouts of equal size share traced functions."""

    def make(environment):
        small = {"policy": PolicySettings(hidden_sizes=(4,)), "value": ValueSettings(value_hidden_sizes=(4,))}
        agent = tf_trpo.TRPO.for_env(environment, **small, seed=0)
        agent.compile(update=UpdateSettings(value_epochs=1), jit_compile=False)
        return agent

    return make

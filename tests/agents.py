"""Fixtures of the tests of learning and training: small agents, and environments of which everything is known."""

import gymnasium as gym
import numpy as np
import pytest

import tf_trpo
from tf_trpo.learning import UpdateSettings
from tf_trpo.models.settings import PolicySettings, ValueSettings


class Scripted(gym.Env):
    """Episodes of 3, 5, 2 and 7 steps, over and over; the odd ones time out, the even ones end.

    The reward is the observation's first coordinate; what was seen and given is kept.
    """

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gym.spaces.Discrete(3)

    def __init__(self):
        self.made.append(self)
        self.episode = -1
        self.acted_on = []
        self.finished = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode += 1
        self.time = 0
        self.total = 0.0
        return self._observe(), {}

    def _observe(self):
        self.observation = np.float32([5 + 3 * np.sin(1.7 * self.episode + 2.3 * self.time), self.time - 40])
        return self.observation

    def step(self, action):
        assert self.action_space.contains(action)
        self.acted_on.append(self.observation)
        reward = float(self.observation[0])
        self.total += reward
        self.time += 1
        ends = self.time == (3, 5, 2, 7)[self.episode % 4]
        if ends:
            self.finished.append((self.total, self.time))
        timeout = self.episode % 2 == 1
        return self._observe(), reward, ends and not timeout, ends and timeout, {}


class Drift(gym.Env):
    """A walk whose reward is the distance and whose cost is the speed; episodes end after 9 to 20 steps."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.speed, self.left = 0.0, 0.0, int(self.np_random.integers(9, 21))
        return np.array([self.place, self.speed]), {}

    def step(self, action):
        self.speed = 0.5 * self.speed + float(np.ravel(action)[0]) - 1.0 + 0.1 * self.np_random.normal()
        self.place += self.speed
        self.left -= 1
        ended, timeout = self.left == 0, self.left == 0 and self.place > 0
        info = {"speed": abs(self.speed)}
        return np.array([self.place, self.speed]), self.place / 10, ended and not timeout, timeout, info


@pytest.fixture
def scripted():
    """A class of scripted environments, of which `scripted.made` has all."""
    return type("Kept", (Scripted,), {"made": []})


@pytest.fixture(scope="session")
def make_agent():
    """make_agent(environment, optimizers, policy={...}, **update settings): small networks, without XLA."""

    def make(
        environment, policy_optimizer=None, value_optimizer=None, *, jit_compile=False, seed=0, policy=None, **update
    ):
        agent = tf_trpo.TRPO.for_env(
            environment,
            policy=PolicySettings(hidden_sizes=(8,), **policy or {}),
            value=ValueSettings(value_hidden_sizes=(8,)),
            seed=seed,
        )
        update = UpdateSettings(**{"value_epochs": 2, "value_minibatch_size": 32} | update)
        agent.compile(policy_optimizer, value_optimizer, update=update, jit_compile=jit_compile)
        return agent

    return make


KEPT = {}
"""By what they were made of, agents that tests have borrowed, with their states when they were made."""


@pytest.fixture
def borrow_agent(make_agent):
    """As make_agent, for a test only: agents go from test to test, as when they were made, with their traced update."""
    lent = []

    def borrow(environment, policy_optimizer=None, *, policy=None, **settings):
        key = environment, policy_optimizer, *sorted({**(policy or {}), **settings}.items())
        agents = KEPT.setdefault(key, [])
        for agent, start in agents:
            if agent not in lent:
                agent.learner.restore(start)
                agent.env_steps.assign(0)
                agent.iterations.assign(0)
                break
        else:
            agent = make_agent(environment, policy_optimizer, policy=policy, **settings)
            agents.append((agent, agent.learner.state()))
        lent.append(agent)
        return agent

    return borrow


@pytest.fixture(scope="session")
def variables_of():
    """variables_of(agent): all that it remembers, as arrays."""

    def variables(agent):
        parts = {**agent.learner.state(), "counters": [agent.env_steps.numpy(), agent.iterations.numpy()]}
        return [np.array(array) for arrays in parts.values() for array in arrays]

    return variables


@pytest.fixture(scope="session")
def assert_same_weights():
    def check(one, other):
        for first, second in zip(one, other, strict=True):
            np.testing.assert_array_equal(first, second)

    return check

"""Learning: from a start that fails the threshold to an end that passes it."""

import gymnasium as gym
import numpy as np
import pytest

import tf_trpo
from tf_trpo.models.settings import PolicySettings, ValueSettings
from tf_trpo.optimizers import TrustRegion
from tf_trpo.training import UpdateSettings


class Identity(gym.Env):
    """The right action is the state that is seen: 1 point for it, 10 to be had in an episode."""

    observation_space = gym.spaces.Discrete(4)
    action_space = gym.spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.observe(), {}

    def observe(self):
        self.state = int(self.np_random.integers(4))
        return self.state

    def reward(self, action):
        return float(action == self.state)

    def step(self, action):
        reward = self.reward(action)
        self.time += 1
        return self.observe(), reward, False, self.time == 10, {}


class ContinuousIdentity(Identity):
    """The reward is minus the distance between action and state, summed over two dimensions."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Box(-2, 2, (2,), np.float32)

    def observe(self):
        self.state = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self.state

    def reward(self, action):
        return -float(np.sum(np.abs(action - self.state)))


class OneStep(gym.Env):
    """One step: the fraction of the action that is right for the state that is seen, 1 at best."""

    observation_space = gym.spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = int(self.np_random.integers(4))
        return self.state, {}

    def step(self, action):
        assert self.action_space.contains(action)
        return self.state, float(self.worth(action)), True, False, {}


class Levers(OneStep):
    action_space = gym.spaces.MultiDiscrete([[3, 4], [2, 2]], start=[[1, 0], [0, -1]])

    def worth(self, action):
        right = [[1 + self.state % 3, self.state], [self.state % 2, self.state // 2 - 1]]
        return np.mean(action == right)


class Switches(OneStep):
    action_space = gym.spaces.MultiBinary(3)

    def worth(self, action):
        return np.mean(action == [self.state % 2, self.state // 2, self.state == 3])


class Machine(OneStep):
    action_space = gym.spaces.Dict(
        push=gym.spaces.Box(-2.0, 6.0, (1,), np.float64),
        gears=gym.spaces.Tuple([gym.spaces.Discrete(3, start=1), gym.spaces.MultiDiscrete([2, 4])]),
        flags=gym.spaces.MultiBinary(2),
    )

    def worth(self, action):
        gear, levers = action["gears"]
        right = [gear == 1 + self.state % 3, *(levers == [self.state % 2, self.state])]
        right += list(action["flags"] == [self.state % 2, self.state // 2])
        return (np.sum(right) + 1 - min(1, abs(action["push"][0] - self.state) / 4)) / 6


def learned(environment, total_steps, *, seed, max_kl, num_envs=4, num_steps=64, sizes=(16,), episodes=20, **settings):
    """Mean evaluated return before and after, and the history."""
    jit_compile, std = settings.pop("jit_compile", True), settings.pop("state_dependent_std", False)
    policy = PolicySettings(hidden_sizes=sizes, state_dependent_std=std)
    value = ValueSettings(value_hidden_sizes=sizes)
    agent = tf_trpo.TRPO.for_env(environment, policy=policy, value=value, seed=seed)
    agent.compile(TrustRegion(max_kl), update=UpdateSettings(**settings), jit_compile=jit_compile)
    before = agent.evaluate(environment, episodes, seed=100)["mean_return"]
    history = agent.fit(environment, total_steps, num_envs=num_envs, num_steps=num_steps, seed=seed, verbose=0).history
    assert max(history["train/kl_divergence_loss"]) <= max_kl
    return before, agent.evaluate(environment, episodes, seed=100)["mean_return"], history


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_discrete_actions_learn_the_identity(seed):
    before, after, _ = learned(Identity, 5000, seed=seed, max_kl=0.05, gamma=0.5, jit_compile=False)
    assert before < 7
    assert after == 10


@pytest.mark.parametrize("state_dependent_std", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_continuous_actions_learn_the_identity(state_dependent_std):
    before, after, _ = learned(
        ContinuousIdentity,
        15_000,
        seed=0,
        max_kl=0.1,
        gamma=0.5,
        state_dependent_std=state_dependent_std,
        jit_compile=False,
    )
    assert before < -9
    # A twentieth for each step and dimension.
    assert after > -1


@pytest.mark.slow
@pytest.mark.parametrize("environment", [Levers, Switches, Machine])
def test_every_action_space_comes_within_a_twentieth_of_the_best(environment):
    before, after, _ = learned(
        environment, 6000, seed=0, max_kl=0.1, num_envs=8, num_steps=32, gamma=0.5, jit_compile=False
    )
    assert before < 0.7
    assert after >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_cartpole_is_solved_within_100_000_steps(seed):
    before, after, _ = learned(
        "CartPole-v1", 100_000, seed=seed, max_kl=0.01, num_envs=8, num_steps=256, sizes=(64, 64)
    )
    assert before < 200
    assert after >= 475


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_pendulum_swings_up_within_200_000_steps(seed):
    before, after, history = learned(
        "Pendulum-v1",
        200_000,
        seed=seed,
        max_kl=0.01,
        num_envs=8,
        num_steps=256,
        sizes=(64, 64),
        episodes=60,
        gamma=0.9,
    )
    assert before < -800
    assert after > -250
    assert history["train/explained_variance"][-1] > 0.9

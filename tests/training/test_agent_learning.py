"""Learning: from a start that fails the threshold to an end that passes it."""

import gymnasium as gym
import numpy as np
import pytest

import tf_trpo
from tf_trpo.learning import UpdateSettings
from tf_trpo.models.settings import PolicySettings, ValueSettings
from tf_trpo.optimizers import TrustRegion


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


class Lamp(OneStep):
    """One pixel of an image is lit, half or fully, which is much in relation to the mean square of all pixels."""

    observation_space = gym.spaces.Box(0, 255, (8, 8, 1), np.uint8)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = np.zeros((8, 8, 1), np.uint8)
        self.state[self.np_random.integers(8), 3] = 120 * self.np_random.integers(1, 3)
        return self.state, {}

    def worth(self, action):
        return action == self.state.max() // 240


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


def case(environment, steps, start, end, *, slow=True, seed=0, max_kl=0.1, sizes=(16,), gamma=0.5, **settings):
    """A training, and the mean return that an agent stays below before it, and reaches by it."""
    settings |= {"max_kl": max_kl, "sizes": sizes, "gamma": gamma}
    marks = [pytest.mark.slow] if slow else []
    return pytest.param(environment, steps, start, end, seed, settings, marks=marks)


CLASSIC = {"num_envs": 8, "num_steps": 256, "max_kl": 0.01, "sizes": (64, 64), "jit_compile": True}
ONE_STEP = {"num_envs": 8, "num_steps": 32}


@pytest.mark.parametrize(
    ("environment", "total_steps", "start", "end", "seed", "settings"),
    [
        case(Identity, 5000, 7, 10, slow=False, max_kl=0.05),
        case(Identity, 5000, 7, 10, seed=1, max_kl=0.05),
        # A twentieth for each step and dimension.
        case(ContinuousIdentity, 15_000, -9, -1, slow=False),
        case(ContinuousIdentity, 15_000, -9, -1, state_dependent_std=True),
        # A twentieth less than the best.
        case(Lamp, 4500, 0.7, 0.95, slow=False, **ONE_STEP),
        *(case(environment, 6000, 0.7, 0.95, **ONE_STEP) for environment in (Levers, Switches, Machine)),
        *(case("CartPole-v1", 100_000, 200, 475, seed=seed, gamma=0.99, **CLASSIC) for seed in (0, 1, 2)),
        *(case("Pendulum-v1", 200_000, -800, -300, seed=seed, gamma=0.9, **CLASSIC) for seed in (0, 1, 2)),
    ],
)
def test_an_agent_learns(environment, total_steps, start, end, seed, settings):
    jit_compile, std = settings.get("jit_compile", False), settings.get("state_dependent_std", False)
    policy = PolicySettings(hidden_sizes=settings["sizes"], state_dependent_std=std)
    value = ValueSettings(value_hidden_sizes=settings["sizes"])
    agent = tf_trpo.TRPO.for_env(environment, policy=policy, value=value, seed=seed)
    update = UpdateSettings(gamma=settings["gamma"])
    agent.compile(TrustRegion(settings["max_kl"]), update=update, jit_compile=jit_compile)
    rollouts = {name: settings.get(name, usual) for name, usual in (("num_envs", 4), ("num_steps", 64))}
    episodes = 60 if environment == "Pendulum-v1" else 20
    before = agent.evaluate(environment, episodes, seed=100)["mean_return"]
    history = agent.fit(environment, total_steps, seed=seed, verbose=0, **rollouts).history
    assert max(history["train/kl_divergence_loss"]) <= settings["max_kl"]
    assert before < start
    assert agent.evaluate(environment, episodes, seed=100)["mean_return"] >= end
    if environment == "Pendulum-v1":
        assert history["train/explained_variance"][-1] > 0.9

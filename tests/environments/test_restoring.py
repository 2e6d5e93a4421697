"""Restored states of environments, compared with episodes that are replayed from their seeds."""

import gc
import time
import weakref

import gymnasium as gym
import mujoco
import numpy as np
import pytest

from tf_trpo.environments import FrameStack
from tf_trpo.environments.making import make_environment
from tf_trpo.environments.probing import fingerprint
from tf_trpo.environments.restoring import Restorable, check_restorable


class Thick(gym.Env):
    """Has its state in a list, an array with two names, an inner environment and its spaces' generators."""

    def __init__(self):
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (3,), np.float64)
        self.action_space = gym.spaces.Discrete(3)
        self.inner = gym.make("Pendulum-v1").unwrapped
        self.choices = gym.spaces.Sequence(gym.spaces.Discrete(3))
        self.window = (nothing for nothing in ())

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.action_space.seed(seed)
        self.choices.seed(seed)
        self.inner.reset(seed=seed)
        self.past, self.screen = [], np.zeros(2)
        self.same = self.screen
        return np.zeros(3), {}

    def step(self, action):
        self.past.append(int(action) + int(self.action_space.sample()) + sum(self.choices.sample()))
        self.same += self.np_random.normal(size=2)
        speed = self.inner.step(np.array([action - 1.0]))[0][2]
        return np.array([*self.screen, speed]), float(sum(self.past)), len(self.past) == 60, False, {}


MAKERS = {
    "classic control": lambda: gym.make("CartPole-v1"),
    "a time limit": lambda: gym.make("Pendulum-v1", max_episode_steps=55),
    "a stochastic environment": lambda: gym.make("FrozenLake-v1"),
    "MuJoCo": lambda: gym.make("Hopper-v5"),
    # Its rewards depend on positions that MuJoCo computed before the last step.
    "MuJoCo with stale positions": lambda: gym.make("Ant-v5"),
    "wrappers": lambda: gym.wrappers.RecordEpisodeStatistics(FrameStack(gym.make("Acrobot-v1"), 3)),
    "state in many places": Thick,
}


def play(env, actions):
    found = []
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        found.append(fingerprint((observation, float(reward), bool(terminated), bool(truncated))))
        if terminated or truncated:
            break
    return found


@pytest.mark.parametrize("kind", MAKERS)
def test_a_restored_state_equals_that_of_the_replayed_episode(kind):
    env, again = MAKERS[kind](), MAKERS[kind]()
    rng, count = np.random.default_rng(0), 1 if kind == "a stochastic environment" else 6
    space = env.action_space

    def some(number):
        if isinstance(space, gym.spaces.Discrete):
            return [space.dtype.type(action) for action in rng.integers(space.n, size=number)]
        return list(rng.uniform(space.low, space.high, (number, *space.shape)).astype(np.float32))

    lead, branch, rest = some(count), some(70), some(70)
    env.reset(seed=5)
    play(env, lead)
    restorable = Restorable(env)
    restorable.save()
    assert play(env, branch)
    for _ in range(2):
        restorable.restore()
        played = play(env, rest)
        again.reset(seed=5)
        play(again, lead)
        assert played == play(again, rest)
    check_restorable(MAKERS[kind]())


def test_the_check_does_not_change_the_state_of_an_environment():
    env = Thick()
    env.reset(seed=1)
    play(env, [0, 1, 2])
    check_restorable(env)
    other = Thick()
    other.reset(seed=1)
    play(other, [0, 1, 2])
    assert play(env, [1] * 30) == play(other, [1] * 30)


class Counting(gym.Env):
    """Counts all steps of the process, in a variable that is not an attribute of the object."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = gym.spaces.Discrete(2)
    counts = []  # noqa: RUF012

    def reset(self, *, seed=None, options=None):
        return np.zeros(1), {}

    def step(self, action):
        self.counts.append(action)
        return np.array([float(len(self.counts))]), 0.0, False, False, {}


class Generating(Counting):
    def __init__(self):
        self.steps = (step for step in range(100))


def test_an_environment_whose_state_cannot_be_restored_is_refused():
    with pytest.raises(ValueError, match="does not go back to the state that it had when reset: vine_states must be 0"):
        check_restorable(Counting())
    with pytest.raises(ValueError, match=r"Generating\.steps cannot be copied .*: vine_states must be 0"):
        check_restorable(Generating())
    with pytest.raises(ValueError, match=r"LunarLander\.world cannot be copied"):
        check_restorable(gym.make("LunarLander-v3"))


class Timed(Counting):
    """Tells the time at the end of each episode of 10 steps."""

    def reset(self, *, seed=None, options=None):
        self.left = 10
        return np.zeros(1), {}

    def step(self, action):
        self.left -= 1
        return np.zeros(1), 0.0, self.left == 0, False, {"t": time.perf_counter()}


def test_of_the_infos_only_costs_must_be_repeated():
    check_restorable(make_environment(0, Timed, info_keys=["t"]))
    with pytest.raises(ValueError, match="does not go back"):
        check_restorable(make_environment(0, Timed, costs=["t"]))


class Falling(Counting):
    """Makes new data for each episode."""

    model = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody><body><freejoint/><geom size='1'/></body></worldbody></mujoco>"
    )

    def reset(self, *, seed=None, options=None):
        self.data = mujoco.MjData(self.model)
        return np.zeros(1), {}

    def step(self, action):
        mujoco.mj_step(self.model, self.data)
        return self.data.qpos[2:3].copy(), 0.0, False, False, {}


def test_simulations_of_earlier_episodes_are_forgotten():
    env = Falling()
    restorable, earlier = Restorable(env), []
    for _ in range(3):
        env.reset()
        play(env, [0] * 3)
        restorable.save()
        found = play(env, [0] * 5)
        env.reset()
        restorable.restore()
        assert play(env, [0] * 5) == found
        earlier.append(weakref.ref(env.data))
    gc.collect()
    assert [place() is None for place in earlier] == [True, True, False]

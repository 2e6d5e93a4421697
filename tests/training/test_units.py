"""A change of units changes nothing: of observations, of actions, of rewards."""

import gymnasium as gym
import numpy as np
import pytest

import tf_trpo
from tf_trpo.models.settings import PolicySettings


class Reach(gym.Env):
    """A point that is pushed to the origin; the same task in any units.

    The third observation is a switch, which is constant at first.

    Args:
      observed: (factor, offset) of the observations.
      low, high: bounds of the actions.
      worth: factor of the rewards.
    """

    def __init__(self, observed=(1.0, 0.0), low=-1.0, high=1.0, worth=1.0, dtype=np.float64):
        self._observed, self._worth = observed, worth
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (3,), np.float64)
        self._episodes = 0
        self.action_space = gym.spaces.Box(low, high, (2,), dtype)
        low, high = self.action_space.low.astype(float), self.action_space.high.astype(float)
        self._centre, self._half = low / 2 + high / 2, high / 2 - low / 2

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._position, self._steps = self.np_random.uniform(-1, 1, 2), 0
        self._episodes += 1
        return self._seen(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self._position = np.clip(self._position + 0.3 * (action - self._centre) / self._half, -1, 1)
        self._steps += 1
        return self._seen(), -self._worth * float(np.abs(self._position).sum()), False, self._steps == 10, {}

    def _seen(self):
        is_on = self._episodes > 9 and self._position[0] > 0
        return self._observed[0] * np.append(self._position, is_on) + self._observed[1]


def _fit(iterations=3, num_steps=64, update=None, **units):
    agent = tf_trpo.TRPO.for_env(lambda: Reach(**units), policy=PolicySettings(hidden_sizes=(8,)), seed=0)
    agent.compile(update=update, jit_compile=False)
    history = agent.fit(lambda: Reach(**units), iterations * num_steps * 2, num_envs=2, num_steps=num_steps, verbose=0)
    return agent, history.history


def _figures(history):
    return {name: values for name, values in history.items() if not name.startswith(("time/", "rollout/"))}


@pytest.fixture(scope="module")
def usual():
    return _fit()


@pytest.mark.parametrize(
    "units",
    [
        {"observed": (2.0**20, 0.0), "low": -(2.0**7), "high": 2.0**7, "worth": 2.0**10},
        pytest.param({"observed": (2.0**-20, 0.0), "low": -(2.0**-9), "high": 2.0**-9}, marks=pytest.mark.slow),
    ],
)
def test_factors_that_are_powers_of_two_change_no_bit(usual, units):
    agent, history = _fit(**units)
    for one, other in zip(agent.policy.trainable_weights, usual[0].policy.trainable_weights, strict=True):
        np.testing.assert_array_equal(one, other)
    ours, usual_figures = _figures(history), _figures(usual[1])
    # The bound is in the units of the returns.
    same = [name for name in usual_figures if not name.startswith("bound/")]
    assert {name: ours[name] for name in same} == {name: usual_figures[name] for name in same}


@pytest.mark.parametrize(
    "units",
    [
        {"observed": (1.0, 1e9), "low": 990.0, "high": 1000.0, "worth": 1e5},
        pytest.param({"observed": (1e6, 0.0), "low": 0.0, "high": 1000.0}, marks=pytest.mark.slow),
        pytest.param({"observed": (1e-3, -5.0), "low": -0.01, "high": 0.01}, marks=pytest.mark.slow),
    ],
)
def test_other_changes_of_units_change_only_rounding(usual, units):
    agent, history = _fit(**units)
    for one, other in zip(agent.policy.trainable_weights, usual[0].policy.trainable_weights, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)
    returns = np.array(history["rollout/ep_rew_mean"]) / units.get("worth", 1.0)
    np.testing.assert_allclose(returns, usual[1]["rollout/ep_rew_mean"], rtol=1e-3)


def _learned(**units):
    agent, _ = _fit(iterations=40, num_steps=512, dtype=np.float32, **units)
    return agent.evaluate(lambda: Reach(dtype=np.float32, **units))["mean_return"]


@pytest.fixture(scope="module")
def usual_return():
    return _learned()


@pytest.mark.slow
@pytest.mark.parametrize(("low", "high"), [(-0.01, 0.01), (990, 1000)])
def test_every_range_of_actions_is_learned_as_well(low, high, usual_return):
    assert usual_return > -1.0
    assert _learned(low=low, high=high) == pytest.approx(usual_return, rel=0.1)

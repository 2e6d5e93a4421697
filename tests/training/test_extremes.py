"""Environments at the edges of what numbers and episodes can be: training continues, and every weight stays finite."""

import gymnasium as gym
import numpy as np
import pytest


class Extreme(gym.Env):
    """Observes noise, the action and the time, each times a scale, and pays for actions near 0.5 and for time."""

    action_space = gym.spaces.Box(-2.0, 2.0, (1,), np.float32)

    def __init__(self, reward=1.0, observation=1.0, length=9, constant=False, dtype=np.float64):
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (3,), dtype)
        self.scales = reward, observation
        self.length = length
        self.constant = constant

    def _observe(self, action):
        seen = np.ones(3) if self.constant else np.array([self.np_random.normal(), action, self.time / 8])
        return (seen * self.scales[1]).astype(self.observation_space.dtype)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self._observe(0.0), {}

    def step(self, action):
        self.time += 1
        chosen = float(action[0])
        reward = (1.0 - (chosen - 0.5) ** 2 + 0.25 * (self.time % 4)) * self.scales[0]
        return self._observe(chosen), reward, self.time == self.length, False, {}


RAW = {"normalize_rewards": False, "normalize_advantages": False}
EXTREMES = {
    "no reward": ({"reward": 0.0}, {}),
    "rewards of 1e-12": ({"reward": 1e-12}, {}),
    "rewards of 1e12": ({"reward": 1e12}, {}),
    "rewards of 1e-12 as they are": ({"reward": 1e-12}, RAW),
    "rewards of 1e12 as they are": ({"reward": 1e12}, RAW),
    "observations of 1e30": ({"observation": 1e30}, {}),
    "observations of 1e-30": ({"observation": 1e-30}, {}),
    "constant observations": ({"constant": True}, {}),
    "one-step episodes": ({"length": 1}, {}),
    "episodes without end": ({"length": None}, {}),
    # Some rollouts are nothing but the row of a reset.
    "rollouts of a step": ({"length": 3}, {"num_envs": 1, "num_steps": 1, "iterations": 8}),
}
MAY_NOT_LEARN = ("no reward", "one-step episodes", "rewards of 1e12 as they are", "rollouts of a step")


def trained(borrow_agent, environment, *, num_envs=2, num_steps=24, iterations=3, **settings):
    agent, steps = borrow_agent(Extreme, **settings), num_envs * num_steps * iterations
    history = agent.fit(lambda: Extreme(**environment), steps, num_envs=num_envs, num_steps=num_steps, verbose=0)
    return agent, history.history


@pytest.mark.parametrize("name", EXTREMES)
def test_training_goes_on(name, borrow_agent):
    environment, settings = EXTREMES[name]
    agent, history = trained(borrow_agent, environment, **settings)
    for variable in [*agent.weights, *agent.optimizer.variables]:
        assert np.isfinite(variable.numpy()).all()
    assert history["train/faults"][-1] == 0
    for figure, values in history.items():
        # Without an ended episode there is no mean return; targets that do not vary have no explained variance.
        assert not np.isinf(values).any(), figure
        if figure not in ("rollout/ep_rew_mean", "rollout/ep_len_mean", "train/explained_variance"):
            assert np.isfinite(values).all(), figure
    assert any(history["train/is_line_search_success"]) or name in MAY_NOT_LEARN


@pytest.mark.parametrize("exponent", [-40, 40])
def test_the_unit_of_rewards_changes_nothing(exponent, borrow_agent):
    """A power of two scales every intermediate number exactly, so that the weights agree in every bit."""
    reference, other = (trained(borrow_agent, {"reward": reward})[0] for reward in (1.0, 2.0**exponent))
    for model in ("policy", "value_function"):
        for weight, expected in zip(getattr(other, model).weights, getattr(reference, model).weights, strict=True):
            np.testing.assert_array_equal(weight.numpy(), expected.numpy())


def test_observations_whose_squares_float32_cannot_hold_are_normalised(borrow_agent):
    agent, _ = trained(borrow_agent, {"observation": 1e30})
    [normalization] = agent.policy.encoder.normalization
    assert float(normalization.count.numpy()) > 100
    assert normalization.variance.numpy().min() > 1e58
    np.testing.assert_allclose(normalization.scale, np.sqrt(normalization.variance.numpy()), rtol=1e-6)


def test_an_evaluation_of_episodes_without_end_ends(borrow_agent, says):
    agent = borrow_agent(Extreme)
    with says(r"5 of 5 episodes had no end after \d+ steps; they are cut there"):
        result = agent.evaluate(lambda: Extreme(length=None), 5, num_envs=2, max_episode_steps=300)
    assert result["episodes"] == 5
    assert 300 <= result["mean_length"] <= 300 + 128
    with says("5 of 5 episodes had no end after 50 steps; they are cut there"):
        # What is left of an episode after the cut is no episode.
        assert agent.evaluate(lambda: Extreme(length=80), 5, num_envs=2, max_episode_steps=50)["mean_length"] == 50
    short = agent.evaluate(lambda: Extreme(length=9), 5, num_envs=2, max_episode_steps=300)
    assert short["mean_length"] == 9
    with pytest.raises(ValueError, match="max_episode_steps must be at least 1, got 0"):
        agent.evaluate(Extreme, 1, max_episode_steps=0)

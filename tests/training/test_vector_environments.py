"""Training in vector environments that were made elsewhere."""

import gymnasium as gym
import keras
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from tf_trpo.optimizers import VanillaPolicyGradient


def trained(make_agent, vector, total_steps, num_steps):
    agent = make_agent(vector, VanillaPolicyGradient("sgd"), "sgd", value_epochs=1)
    return agent, agent.fit(vector, total_steps, num_steps=num_steps, seed=3, verbose=0).history


def test_of_one_environment_every_mode_gives_the_same_weights(make_agent, assert_same_weights):
    """With one environment, the pause after an episode is the row of the reset in NEXT_STEP mode."""
    weights = []
    for mode in AutoresetMode:
        vector = SyncVectorEnv([lambda: gym.make("CartPole-v1", max_episode_steps=20)], autoreset_mode=mode)
        agent, history = trained(make_agent, vector, 128, 64)
        assert history["rollout/ep_len_mean"][-1] <= 20
        weights.append(agent.get_weights())
    for others in weights[1:]:
        assert_same_weights(weights[0], others)


class Ones(gym.Env):
    """Reward 1 for a number of steps."""

    observation_space = gym.spaces.Box(-1, 1, (1,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, length):
        self._length = length

    def reset(self, *, seed=None, options=None):
        self._time = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self._time += 1
        return np.zeros(1, np.float32), 1.0, self._time == self._length, False, {}


@pytest.mark.parametrize("mode", AutoresetMode)
def test_pauses_do_not_change_the_scale_of_the_returns(make_agent, mode):
    vector = SyncVectorEnv([lambda: Ones(1), lambda: Ones(1000)], autoreset_mode=mode)
    agent, _ = trained(make_agent, vector, 200, 200)
    long = int(agent.env_steps.numpy()) - 100
    assert long == (200 if mode == AutoresetMode.NEXT_STEP else 100)
    returns = [1.0] * 100 + [(1 - 0.99**steps) / (1 - 0.99) for steps in range(1, long + 1)]
    assert float(agent.return_scale.variance.numpy()) == pytest.approx(np.var(returns), rel=1e-4)


@pytest.mark.parametrize(
    ("meddle", "error", "words"),
    [
        (lambda agent, vector: vector.envs[0].reset(), RuntimeError, "reset of an environment that a fit or an eval"),
        (lambda agent, vector: agent.fit(lambda: Ones(3), 8, verbose=0), ValueError, "a fit of this agent has not end"),
        (lambda agent, vector: agent.evaluate(lambda: vector.envs[0]), ValueError, "Ones object that a fit or an eval"),
    ],
    ids=["reset", "fit", "evaluate"],
)
def test_callbacks_do_not_tear_a_fit_apart(make_agent, meddle, error, words):
    vector, rows = SyncVectorEnv([lambda: Ones(3), lambda: Ones(3)]), {"num_steps": 200, "verbose": 0}
    agent, _ = trained(make_agent, vector, 8, 200)
    calls = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: meddle(agent, vector))
    with pytest.raises(error, match=words):
        agent.fit(vector, 16, callbacks=calls, **rows)
    assert agent.fit(vector, 16, **rows).history["rollout/ep_len_mean"][-1] == 3


def test_gymnasiums_own_vector_class_trains(make_agent):
    vector = gym.make_vec("CartPole-v1", 1, vectorization_mode="vector_entry_point")
    agent, history = trained(make_agent, vector, 128, 64)
    assert int(agent.env_steps.numpy()) >= 128
    assert np.isfinite(history["rollout/ep_rew_mean"][-1])
    np.testing.assert_array_equal(history["rollout/ep_rew_mean"], history["rollout/ep_len_mean"])


def test_agents_of_pettingzoo_share_a_policy_through_supersuit(make_agent):
    supersuit, spread = pytest.importorskip("supersuit"), pytest.importorskip("mpe2.simple_spread_v3")
    vector = supersuit.pettingzoo_env_to_vec_env_v1(spread.parallel_env(max_cycles=10))
    vector = supersuit.concat_vec_envs_v1(vector, 2, base_class="gymnasium")
    agent, history = trained(make_agent, vector, 300, 33)
    # All agents of an environment end together: ten steps, and the row of the reset.
    assert history["rollout/ep_len_mean"][-1] == 10
    assert int(agent.env_steps.numpy()) == 2 * 6 * 30
    with pytest.raises(ValueError, match=r"ParallelEnv|simple_env|none of these"):
        trained(make_agent, spread.parallel_env(), 10, 10)

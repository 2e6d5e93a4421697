"""Keras' own callbacks, which monitor figures that not every iteration has."""

import gymnasium as gym
import keras
import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv

from tf_trpo.callbacks import Evaluate

SIZES = {"num_envs": 2, "num_steps": 12, "verbose": 0}
# Keras warns in every iteration without the figure, and continues.
pytestmark = pytest.mark.filterwarnings(
    "ignore:(Early stopping|Learning rate reduction is) conditioned on metric:UserWarning"
)


def test_the_best_evaluation_is_kept_and_training_does_not_stop_between_evaluations(small_agent, tmp_path):
    agent, path = small_agent("CartPole-v1"), tmp_path / "best.keras"
    monitored = {"monitor": "eval/mean_reward", "mode": "max"}
    kept = []

    class Keeps(keras.callbacks.Callback):
        """Records the weights at every evaluation."""

        def on_epoch_end(self, epoch, logs=None):
            if "eval/mean_reward" in logs:
                kept.append((logs["eval/mean_reward"], agent.get_weights()))

    callbacks = [
        Evaluate("CartPole-v1", 192, episodes=3, seed=7),
        keras.callbacks.ModelCheckpoint(path, save_best_only=True, **monitored),
        keras.callbacks.EarlyStopping(patience=5, **monitored),
        Keeps(),
    ]
    # 8 iterations between evaluations are more than the patience.
    history = agent.fit("CartPole-v1", 960, callbacks=callbacks, **SIZES).history
    assert history["time/total_timesteps"][-1] >= 960
    assert np.isfinite(history["eval/mean_reward"]).sum() == len(kept) == 5
    best = max(reward for reward, _ in kept)
    weights = next(weights for reward, weights in kept if reward == best)
    saved = keras.saving.load_model(path)
    for weight, expected in zip(saved.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(weight, expected)
    assert saved.evaluate("CartPole-v1", 3, seed=7)["mean_return"] == best


def test_a_best_model_by_a_figure_that_is_never_logged_is_a_warning(small_agent, tmp_path, caplog):
    best = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", save_best_only=True)
    small_agent("CartPole-v1").fit("CartPole-v1", 48, callbacks=best, **SIZES)
    assert not list(tmp_path.iterdir())
    assert "no iteration logged val_loss, so " in caplog.text


def test_training_stops_after_evaluations_without_an_improvement(small_agent):
    """Every evaluation counts, but iterations without one do not."""
    agent = small_agent("CartPole-v1")
    early = keras.callbacks.EarlyStopping(monitor="eval/mean_reward", mode="max", patience=2, min_delta=1e6)
    callbacks = [Evaluate("CartPole-v1", 48, episodes=1), early]
    history = agent.fit("CartPole-v1", 960, callbacks=callbacks, **SIZES).history
    assert np.isfinite(history["eval/mean_reward"]).sum() == 3
    assert len(history["time/iterations"]) >= 6


class UpAgain(gym.Wrapper):
    """CartPole whose pole is set upright again when it has fallen."""

    def step(self, action):
        observation, reward, fell, truncated, info = self.env.step(action)
        return self.env.reset()[0] if fell else observation, reward, False, truncated, info


def test_a_learning_rate_is_not_reduced_while_no_episode_has_ended(small_agent):
    """A figure that never exists does not stop training either."""

    def endless():
        return gym.wrappers.TimeLimit(UpAgain(CartPoleEnv()), 80)

    agent = small_agent(endless)
    reduce = keras.callbacks.ReduceLROnPlateau(
        monitor="rollout/ep_rew_mean", mode="max", factor=0.1, patience=2, min_delta=1e6
    )
    others = [
        keras.callbacks.EarlyStopping(monitor="eval/mean_reward", mode="max", patience=1),
        keras.callbacks.TerminateOnNaN(),
    ]
    # 7 iterations until the 80th row, and 3 more with a figure that does not improve.
    history = agent.fit(endless, 230, callbacks=[reduce, *others], **SIZES).history
    rates = history["train/learning_rate"]
    assert len(rates) == len(history["time/iterations"]) == 10
    assert np.isfinite(history["rollout/ep_rew_mean"]).tolist() == [False] * 6 + [True] * 4
    assert rates[:7] == pytest.approx([1e-3] * 7)
    assert agent.optimizer.learning_rate.numpy() == pytest.approx(1e-4)

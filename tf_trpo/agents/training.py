"""The fit loop: collect, update, report; one iteration is one Keras epoch."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf
from gymnasium.vector import VectorEnv

from tf_trpo.callbacks import Progress, ReleasesResources
from tf_trpo.rollouts import (
    Collector,
    Episode,
    EpisodeTracker,
    Rollout,
    Stream,
    environment_seeds,
    make_actor,
    numpy_generator,
    operation_seed,
)

if TYPE_CHECKING:
    from tf_trpo.agents.trpo import TRPO

_EPISODE_WINDOW = 100
"""Episodes that the reported mean return and length are taken over, as Stable-Baselines3 does."""


def train(
    agent: TRPO,
    environments: VectorEnv,
    total_steps: int,
    *,
    num_steps: int,
    seed: int,
    callbacks: Sequence[keras.callbacks.Callback],
    verbose: int,
) -> keras.callbacks.History:
    """Run iterations until `total_steps` more environment steps are taken or a callback stops it.

    Every random choice is a function of (seed, iteration), so a run can be repeated bit for bit.

    Returns:
      The Keras History: one entry an iteration for each figure in the logs.
    """
    num_envs = environments.num_envs
    first = int(agent.iterations.numpy())
    goal = int(agent.env_steps.numpy()) + total_steps
    actor = make_actor(agent.policy, num_envs)
    collector = Collector(environments, actor, seed=environment_seeds(seed, Stream.ENVIRONMENTS, num_envs, first))
    callback_list = keras.callbacks.CallbackList(
        [*callbacks, *([Progress()] if verbose else [])],
        add_history=True,
        model=agent,
        verbose=verbose,
        epochs=first + math.ceil(total_steps / (num_steps * num_envs)),
        steps=1,
        total_steps=goal,
    )
    agent.stop_training = False
    logs: dict[str, float] = {}
    callback_list.on_train_begin()
    report = _Report(agent, num_envs)
    carry = tf.zeros([num_envs])
    try:
        while int(agent.env_steps.numpy()) < goal and not agent.stop_training:
            iteration = int(agent.iterations.numpy())
            callback_list.on_epoch_begin(iteration)
            callback_list.on_train_batch_begin(0)
            noise = agent.policy.noise([num_steps, num_envs], operation_seed(seed, Stream.ACTIONS, iteration)).numpy()
            # Just before they are used: a callback may have set them, such as one that restores a backup.
            actor.update_weights()
            rollout = collector.collect(noise)
            orders = agent.learner.orders(num_steps * num_envs, numpy_generator(seed, Stream.MINIBATCHES, iteration))
            metrics, carry = agent.learner.update(rollout, carry, orders)
            agent.env_steps.assign_add(int(rollout.valid.sum()))
            agent.iterations.assign_add(1)
            logs = report.logs(rollout, metrics)
            # TerminateOnNaN looks for Keras' name.
            callback_list.on_train_batch_end(0, {**logs, "loss": logs["train/value_loss"]})
            callback_list.on_epoch_end(iteration, logs)
    except BaseException:
        # Not on_train_end, which says that training is complete: BackupAndRestore deletes its backup then.
        for callback in callback_list.callbacks:
            if isinstance(callback, ReleasesResources):
                callback.release()
        raise
    callback_list.on_train_end(logs)
    return agent.history


class _Report:
    """The logs of an iteration: what every callback sees."""

    def __init__(self, agent: TRPO, num_envs: int) -> None:
        self._agent = agent
        self._tracker = EpisodeTracker(num_envs)
        self._episodes: deque[Episode] = deque(maxlen=_EPISODE_WINDOW)
        self._start = time.perf_counter()
        self._start_steps = int(agent.env_steps.numpy())

    def logs(self, rollout: Rollout, metrics: dict[str, tf.Tensor]) -> dict[str, float]:
        for finished in self._tracker.finished(rollout):
            self._episodes.extend(finished)
        elapsed = time.perf_counter() - self._start
        steps = int(self._agent.env_steps.numpy())
        episodes = np.array(self._episodes, np.float64).reshape(-1, 2)
        mean_return, mean_length = episodes.mean(axis=0) if len(episodes) else (math.nan, math.nan)
        return {
            "rollout/ep_rew_mean": float(mean_return),
            "rollout/ep_len_mean": float(mean_length),
            "time/total_timesteps": steps,
            "time/iterations": int(self._agent.iterations.numpy()),
            "time/time_elapsed": elapsed,
            "time/fps": (steps - self._start_steps) / elapsed,
            **{name: float(value) for name, value in sorted(metrics.items())},
        }

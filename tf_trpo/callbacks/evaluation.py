"""Evaluation during training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras


class Evaluate(keras.callbacks.Callback):
    """Evaluates the agent every so many environment steps and adds the result to the logs.

    The logs carry eval/mean_reward and eval/mean_ep_length at every iteration: NaN where there was no
    evaluation. Put it before the callbacks that are to see them.

    Args:
      environment: as for `TRPO.evaluate`.
      every_steps: environment steps between two evaluations, >= 1.
      **kwargs: episodes, stochastic, num_envs, env_kwargs, seed: as for `TRPO.evaluate`.
    """

    def __init__(self, environment: Any, every_steps: int, **kwargs: Any) -> None:
        super().__init__()
        if every_steps < 1:
            raise ValueError(f"every_steps must be at least 1, got {every_steps}")
        self._environment = environment
        self._every_steps = every_steps
        self._kwargs = kwargs
        self._last = 0

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        self._last = int(self.model.env_steps.numpy())

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        steps = int(self.model.env_steps.numpy())
        mean_reward = mean_length = math.nan
        if steps - self._last >= self._every_steps:
            result = self.model.evaluate(self._environment, **self._kwargs)
            mean_reward, mean_length = result["mean_return"], result["mean_length"]
            self._last = steps
        if logs is not None:
            logs["eval/mean_reward"] = mean_reward
            logs["eval/mean_ep_length"] = mean_length

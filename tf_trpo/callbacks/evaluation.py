"""Evaluation during training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras

from tf_trpo.callbacks.every_steps import EverySteps


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
        self._environment = environment
        self._every_steps = EverySteps(every_steps)
        self._kwargs = kwargs

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        self._every_steps.start(int(self.model.env_steps.numpy()))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        mean_reward = mean_length = math.nan
        if self._every_steps.reached(int(self.model.env_steps.numpy())):
            result = self.model.evaluate(self._environment, **self._kwargs)
            mean_reward, mean_length = result["mean_return"], result["mean_length"]
        if logs is not None:
            logs["eval/mean_reward"] = mean_reward
            logs["eval/mean_ep_length"] = mean_length

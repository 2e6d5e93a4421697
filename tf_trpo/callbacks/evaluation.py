"""Evaluation during training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from tf_trpo.callbacks.every_steps import EverySteps
from tf_trpo.environments import check_free


class Evaluate(keras.callbacks.Callback):
    """Evaluates the agent every so many environment steps and adds the result to the logs.

    The logs have eval/mean_reward and eval/mean_ep_length in the iterations with an evaluation only. Put this callback
    before the callbacks that need them.

    Args:
      environment: as for `TRPO.evaluate`.
      every_steps: environment steps between two evaluations, >= 1.
      **kwargs: episodes, stochastic, num_envs, env_kwargs, wrappers, action_masks, seed: as for `TRPO.evaluate`.

    Raises:
      ValueError: from `on_train_begin`: the environment is the vector environment that is trained in, or closed.
    """

    def __init__(self, environment: Any, every_steps: int, **kwargs: Any) -> None:
        super().__init__()
        self._environment = environment
        self._every_steps = EverySteps(every_steps)
        self._kwargs = kwargs

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        # The environments that are trained in are in use.
        check_free(self._environment)
        self._every_steps.start(int(self.model.env_steps.numpy()))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self._every_steps.reached(int(self.model.env_steps.numpy())) and logs is not None:
            result = self.model.evaluate(self._environment, **self._kwargs)
            logs |= {"eval/mean_reward": result["mean_return"], "eval/mean_ep_length": result["mean_length"]}

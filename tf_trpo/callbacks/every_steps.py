"""Evaluate and write checkpoints every N environment steps; an iteration takes many steps at once."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tf_trpo.environments import open_vector_environment
from tf_trpo.models.making import check_fit
from tf_trpo.ranges import check_whole_numbers
from tf_trpo.suggestions import nearest_hint

MAKING = ("env_kwargs", "wrappers", "action_masks", "info_keys", "costs")
"""Keywords of `TRPO.evaluate` with which the environments are made."""
EVALUATING = ("episodes", "stochastic", "num_envs", "max_episode_steps", "seed")
"""The other keywords of `TRPO.evaluate`."""


class EverySteps:
    """Detects when a multiple of `steps` has been passed; answers are the same in resumed and uninterrupted training.

    Args:
      steps: number of environment steps, >= 1, or None for never.

    Raises:
      TypeError, ValueError: steps is not an integer, or is less than 1.
    """

    def __init__(self, steps: int | None) -> None:
        check_whole_numbers(every_steps=1 if steps is None else steps)
        self._steps = math.inf if steps is None else steps
        self._passed = 0.0

    def start(self, total: int) -> None:
        """Begin or continue after `total` steps."""
        self._passed = total // self._steps

    def reached(self, total: int) -> bool:
        """Return whether a multiple has been passed since the last call."""
        passed, self._passed = self._passed, total // self._steps
        return self._passed > passed


class Evaluate(keras.callbacks.Callback):
    """Evaluates the agent every N environment steps and adds the result to the logs.

    The logs hold eval/mean_reward, eval/mean_ep_length, eval/cost/NAME and eval/info/KEY only in iterations with an
    evaluation. Put this callback before callbacks that need them.

    Args:
      environment: as for `TRPO.evaluate`.
      every_steps: environment steps between evaluations, >= 1.
      **kwargs: episodes, stochastic, num_envs, env_kwargs, wrappers, action_masks, info_keys, costs, seed,
        max_episode_steps: as for `TRPO.evaluate`.

    Raises:
      TypeError: a keyword is not one of these.
      ValueError: from `on_train_begin`: the environment does not fit the agent, or is a vector environment that is
        closed or used for training.
      EnvironmentFailedError: from `on_train_begin`: the environment cannot be made.
    """

    needs_steps = True
    """`TRPO.clone` refuses the callback: cloning takes no environment steps."""

    def __init__(self, environment: Any, every_steps: int, **kwargs: Any) -> None:
        super().__init__()
        self._environment = environment
        self._every_steps = EverySteps(every_steps)
        for name in kwargs:
            if name not in (*EVALUATING, *MAKING):
                raise TypeError(f"Evaluate takes no {name}{nearest_hint(name, (*EVALUATING, *MAKING))}")
        check_whole_numbers(**{name: kwargs[name] for name in ("episodes", "num_envs") if kwargs.get(name) is not None})
        self._kwargs = kwargs
        self._last: tuple[list[Any], dict[str, float]] | None = None

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        given = {name: value for name, value in self._kwargs.items() if name in MAKING and value is not None}
        making: Any = {"costs": self.model.costs, **given}
        # This also refuses the vector environment of the training, which is in use.
        with open_vector_environment(self._environment, 1, **making) as environments:
            check_fit(self.model.policy, environments)
        self._every_steps.start(int(self.model.env_steps.numpy()))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self._every_steps.reached(int(self.model.env_steps.numpy())) and logs is not None:
            result = self.model.evaluate(self._environment, **self._kwargs)
            self._last = self.model.get_weights(), result
            logs |= {"eval/mean_reward": result["mean_return"], "eval/mean_ep_length": result["mean_length"]}
            logs |= {f"eval/{name}": figure for name, figure in result.items() if name.startswith(("info/", "cost/"))}

    def present_result(self) -> dict[str, float] | None:
        """Return the result of the last evaluation; None if there was none, or if the weights have changed since."""
        if self._last is None:
            return None
        weights, result = self._last
        is_same = all(map(np.array_equal, weights, self.model.get_weights()))
        return result if is_same else None


class Checkpoint(keras.callbacks.Callback):
    """Writes a checkpoint DIRECTORY/steps-N.ckpt every N environment steps, and when training ends or fails.

    It also writes one as soon as `StopOnSignal` has got a signal.

    `TRPO.fit(resume_from=DIRECTORY)` continues from the newest checkpoint. Put this callback last, so that checkpoints
    include what other callbacks do at the end of an epoch. Training does not begin if a checkpoint in the folder has
    more steps than the agent, because another fit wrote that checkpoint.

    Args:
      directory: folder of the checkpoints; made if it is missing.
      every_steps: environment steps between checkpoints, >= 1; None: only at the end or after a failure.
      keep: number of newest checkpoints to keep, >= 1.
      at_start: also write a checkpoint before the first iteration, so that a run can always be resumed.
    """

    needs_steps = True
    """`TRPO.clone` refuses the callback: cloning takes no environment steps."""

    def __init__(
        self, directory: str | os.PathLike[str], every_steps: int | None, *, keep: int = 2, at_start: bool = False
    ) -> None:
        super().__init__()
        check_whole_numbers(keep=keep)
        self._directory = Path(directory)
        self._every_steps = EverySteps(every_steps)
        self._keep = keep
        self._at_start = at_start
        self._interrupted = False

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        self.params["trainer"].check_directory(self._directory)
        self._every_steps.start(int(self.model.env_steps.numpy()))
        if self._at_start:
            self._save()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        # After a signal, the process may be killed while other callbacks end: it has to be possible to resume now.
        self._interrupted = bool(self.params.get("interrupted"))
        if self._every_steps.reached(int(self.model.env_steps.numpy())) or self._interrupted:
            self._save()

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        # Other callbacks, such as EarlyStopping, may have restored weights by now, with the steps taken at that time.
        if not self._interrupted:
            self._save(discard_newer=True)

    def save_on_failure(self) -> None:
        """Write a checkpoint of the last complete iteration; after a rollout that failed, even if there is one."""
        # After a rollout that failed, the episodes of an intact checkpoint would lead to the same failure again.
        self._save(overwrite=self.params["trainer"].rollout is None, discard_newer=True)

    def _save(self, **how: bool) -> None:
        self.params["trainer"].save_checkpoint(self._directory, keep=self._keep, **how)

"""Write training to TensorBoard: figures over environment steps, histograms, settings, the graph."""

from __future__ import annotations

import dataclasses
import logging
import math
import numbers
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorboard.compat.proto import summary_pb2
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb

from tf_trpo.callbacks.dashboards import Settings, hyperparameter_summaries, layout_summary, tables
from tf_trpo.callbacks.episode_video import EpisodeVideo, gif_summary
from tf_trpo.callbacks.event_file import PATTERN, EventFile
from tf_trpo.callbacks.every_steps import EverySteps
from tf_trpo.ranges import check_whole_numbers
from tf_trpo.spaces import map_parts

_logger = logging.getLogger(__name__)


class TensorBoard(keras.callbacks.Callback):
    """Writes every figure of the logs as a scalar, and the contents of the other dashboards.

    The x axis is the number of environment steps. Keras' callback counts iterations instead, by which runs with
    different batch sizes cannot be compared. If training is resumed in a folder with events of later steps, TensorBoard
    drops those events.

    Args:
      log_dir: folder of the event files.
      hyperparameters: for the HParams dashboard, which initially shows the first five; by default the settings with
        which the agent was compiled.
      config: tables of names and values by heading, for the text dashboard; by default the hyperparameters.
      histogram_every: environment steps between histograms of weights and of a rollout's actions; 0 for none.
      video: films an episode of the policy every `video.every_steps` steps, and when training ends.

    Raises:
      TypeError, ValueError: histogram_every is not an integer, or is negative.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str],
        *,
        hyperparameters: Settings | None = None,
        config: Mapping[str, Settings] | None = None,
        histogram_every: int = 10_000,
        video: EpisodeVideo | None = None,
    ) -> None:
        super().__init__()
        check_whole_numbers(lowest=0, histogram_every=histogram_every)
        self._log_dir = Path(log_dir)
        self._hyperparameters = hyperparameters
        self._config = config
        self._histograms = EverySteps(histogram_every or None)
        self._video = video
        self._films = EverySteps(None if video is None else video.every_steps)
        self._last_film = -1
        self._file: EventFile | None = None

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        steps = int(self.model.env_steps.numpy())
        is_new = steps == 0 or not any(self._log_dir.glob(PATTERN))
        self._file = EventFile(self._log_dir, steps)
        if is_new:
            self._file.add_graph(_policy_graph(self.model.policy))
            self._file.add(steps, self._description())
        self._histograms.start(steps)
        self._films.start(steps)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        figures = dict(logs or {})
        step = int(figures.pop("time/total_timesteps", epoch))
        summaries = _scalars(figures)
        if self._histograms.reached(step):
            summaries += self._histogram_summaries()
        assert self._file is not None
        self._file.add(step, summaries)
        if self._films.reached(step):
            self._film(step)

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        self._film(int(self.model.env_steps.numpy()))
        self.release()

    def release(self) -> None:
        """Close the event file."""
        if self._file is not None:
            self._file.close()

    def _description(self) -> list[summary_pb2.Summary]:
        hyperparameters = _compiled_with(self.model) if self._hyperparameters is None else self._hyperparameters
        config = {"hyperparameters": hyperparameters} if self._config is None else self._config
        return [layout_summary(), *hyperparameter_summaries(hyperparameters), text_pb("config", tables(config))]

    def _histogram_summaries(self) -> list[summary_pb2.Summary]:
        named = {
            # Not by Keras' paths: they contain numbers of layers in the process, which differ between runs.
            f"{name}/{position}_{variable.name}": variable.numpy()
            for name, model in (("policy", self.model.policy), ("value_function", self.model.value_function))
            for position, variable in enumerate(model.trainable_variables)
        }
        trainer = self.params.get("trainer")  # missing in `TRPO.clone`
        if trainer is not None and (rollout := trainer.rollout) is not None:
            actions = rollout.actions[rollout.valid]
            named |= {f"actions/{place}": column for place, column in enumerate(actions.reshape(len(actions), -1).T)}
        return [histogram_pb(name, values) for name, values in named.items() if np.isfinite(values).all()]

    def _film(self, step: int) -> None:
        if self._video is not None and self._last_film != step:
            assert self._file is not None
            self._last_film = step
            try:
                self._file.add(step, [gif_summary("episode", self._video.record(self.model))])
            except Exception as error:  # Renderers raise many kinds of errors, which must not end training.
                _logger.warning("there is no film at step %d: %s", step, " ".join(str(error).split()))


def add_final_evaluation(log_dir: str | os.PathLike[str], steps: int, mean: float, std: float) -> None:
    """Write the final evaluation, by which the HParams dashboard compares runs.

    Args:
      log_dir: folder of the event files.
      steps: environment steps of the training.
      mean, std: mean and standard deviation of the return over episodes.
    """
    file = EventFile(log_dir, steps)
    file.add(steps, _scalars({"final/mean_reward": mean, "final/std_reward": std}))
    file.close()


def _scalars(figures: Mapping[str, Any]) -> list[summary_pb2.Summary]:
    """Return the figures that are numbers; a callback may have added others."""
    reals = (item for item in figures.items() if isinstance(item[1], numbers.Real) and not math.isnan(item[1]))
    return [scalar_pb(name, value) for name, value in reals]


def _compiled_with(agent: keras.Model) -> Settings:
    """Return the settings of a compiled agent that are numbers, bools, strings or None."""
    every = keras.tree.flatten_with_path(
        [dataclasses.asdict(agent.update_settings), agent.policy_optimizer.get_config()]
    )
    plain = {path[-1]: value for path, value in every if isinstance(value, bool | int | float | str | None)}
    rate = float(f"{float(agent.optimizer.learning_rate):.6g}")
    return {"policy_optimizer": type(agent.policy_optimizer).__name__, **plain, "value_learning_rate": rate}


def _policy_graph(policy: keras.Model) -> tf.Graph:
    """Trace the policy from observations to the parameters of the action distribution."""
    signature = map_parts(lambda part: tf.TensorSpec([None, *part.shape], part.dtype), policy.encoder.spec)
    states = tuple(tf.TensorSpec([None, *part.shape[1:]], part.dtype) for part in policy.initial_states(1))
    return tf.function(policy.step, autograph=False).get_concrete_function(signature, states).graph

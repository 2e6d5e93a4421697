"""TensorBoard scalars over environment steps."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

import keras
import tensorflow as tf


class TensorBoard(keras.callbacks.Callback):
    """Writes every figure of the logs as a scalar; the x axis is the number of environment steps.

    The stock callback counts iterations, which compare no two runs of different batch sizes.

    Args:
      log_dir: folder of the event files.
    """

    def __init__(self, log_dir: str | os.PathLike[str]) -> None:
        super().__init__()
        self._log_dir = os.fspath(log_dir)
        self._writer: tf.summary.SummaryWriter | None = None

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        self._writer = tf.summary.create_file_writer(self._log_dir)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        figures = dict(logs or {})
        step = int(figures.pop("time/total_timesteps", epoch))
        assert self._writer is not None
        with self._writer.as_default(step=step):
            for name, value in figures.items():
                if not math.isnan(value):
                    tf.summary.scalar(name, value)
        self._writer.flush()

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        self.release()

    def release(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()

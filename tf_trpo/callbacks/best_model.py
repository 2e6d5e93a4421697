"""Keras' ModelCheckpoint of the best model, for figures that not every iteration has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras


class IfFigureExists:
    """A `ModelCheckpoint` of the best model that does not hear of iterations without the figure that it monitors.

    Keras' own saves the model then, over the best one.

    Args:
      checkpoint: hears of everything else.
    """

    def __init__(self, checkpoint: keras.callbacks.ModelCheckpoint) -> None:
        self._checkpoint = checkpoint

    def __getattr__(self, name: str) -> Any:
        return getattr(self._checkpoint, name)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        if logs and self._checkpoint.monitor in logs:
            self._checkpoint.on_train_batch_end(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        if logs and self._checkpoint.monitor in logs:
            self._checkpoint.on_epoch_end(epoch, logs)


def if_figure_exists(callback: keras.callbacks.Callback) -> Any:
    """Give a callback itself, or `IfFigureExists` of a `ModelCheckpoint` of the best model."""
    saves_best = isinstance(callback, keras.callbacks.ModelCheckpoint) and callback.save_best_only
    return IfFigureExists(callback) if saves_best else callback

"""Keras' ModelCheckpoint of the best model, for figures that not every iteration has."""

from __future__ import annotations

from typing import Any

import keras


class IfFigureExists:
    """A `ModelCheckpoint` of the best model that skips iterations without the figure that it monitors.

    Keras' own saves the model then, over the best one.

    Args:
      checkpoint: is called in all other cases.
    """

    def __init__(self, checkpoint: keras.callbacks.ModelCheckpoint) -> None:
        self._checkpoint = checkpoint

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._checkpoint, name)
        if name not in ("on_train_batch_end", "on_epoch_end"):
            return method
        return lambda number, logs=None: method(number, logs) if self._checkpoint.monitor in (logs or {}) else None


def if_figure_exists(callback: keras.callbacks.Callback) -> Any:
    """Give a callback itself, or `IfFigureExists` of a `ModelCheckpoint` of the best model."""
    saves_best = isinstance(callback, keras.callbacks.ModelCheckpoint) and callback.save_best_only
    return IfFigureExists(callback) if saves_best else callback

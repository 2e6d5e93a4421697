"""Keras' ModelCheckpoint of the best model, for monitored figures that not every iteration logs."""

from __future__ import annotations

from typing import Any

import keras


class IfFigureExists:
    """Wraps a `ModelCheckpoint` of the best model to skip iterations whose logs lack the monitored figure.

    In such an iteration, Keras' own callback would save the model over the best one.

    Args:
      checkpoint: the callback, which is called in all other cases.
    """

    def __init__(self, checkpoint: keras.callbacks.ModelCheckpoint) -> None:
        self._checkpoint = checkpoint

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._checkpoint, name)
        if name not in ("on_train_batch_end", "on_epoch_end"):
            return method
        return lambda number, logs=None: method(number, logs) if self._checkpoint.monitor in (logs or {}) else None


def if_figure_exists(callback: keras.callbacks.Callback) -> Any:
    """Wrap a `ModelCheckpoint` of the best model in `IfFigureExists`; return other callbacks unchanged."""
    saves_best = isinstance(callback, keras.callbacks.ModelCheckpoint) and callback.save_best_only
    return IfFigureExists(callback) if saves_best else callback

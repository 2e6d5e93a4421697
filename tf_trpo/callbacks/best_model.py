"""Keras' ModelCheckpoint of the best model, for monitored figures that not every iteration logs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import keras

_logger = logging.getLogger(__name__)


class IfFigureExists:
    """Wraps a `ModelCheckpoint` of the best model to skip iterations whose logs lack the monitored figure.

    In such an iteration, Keras' own callback would save the model over the best one. If no iteration logs the figure, a
    warning at the end says so.

    Args:
      checkpoint: the callback, which is called in all other cases.
    """

    def __init__(self, checkpoint: keras.callbacks.ModelCheckpoint) -> None:
        self._checkpoint = checkpoint
        self._logged = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._checkpoint, name)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self._has_figure(logs):
            self._checkpoint.on_train_batch_end(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self._has_figure(logs):
            self._checkpoint.on_epoch_end(epoch, logs)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        self._checkpoint.on_train_end(logs)
        if not self._logged:
            _logger.warning(
                "no iteration logged %s, so %s was not written; the return is rollout/ep_rew_mean or, with "
                "evaluations, eval/mean_reward",
                self._checkpoint.monitor,
                self._checkpoint.filepath,
            )

    def _has_figure(self, logs: Mapping[str, Any] | None) -> bool:
        found = self._checkpoint.monitor in (logs or {})
        self._logged |= found
        return found


def if_figure_exists(callback: keras.callbacks.Callback) -> Any:
    """Wrap a `ModelCheckpoint` of the best model in `IfFigureExists`; return other callbacks unchanged."""
    saves_best = isinstance(callback, keras.callbacks.ModelCheckpoint) and callback.save_best_only
    return IfFigureExists(callback) if saves_best else callback

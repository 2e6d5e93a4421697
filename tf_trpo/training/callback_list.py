"""The Keras callback list and the history of a fit, and the release of what its callbacks hold."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import keras

from tf_trpo.callbacks import Progress
from tf_trpo.callbacks.best_model import if_figure_exists
from tf_trpo.ranges import check_types
from tf_trpo.training.trainer import Trainer

Callbacks: TypeAlias = Sequence[keras.callbacks.Callback] | keras.callbacks.Callback | None
_MONITORS = keras.callbacks.EarlyStopping | keras.callbacks.ModelCheckpoint | keras.callbacks.ReduceLROnPlateau


class EvenHistory(keras.callbacks.History):
    """A Keras `History` whose lists all have a number for each epoch: NaN if the epoch's logs lack the figure."""

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        for name, values in self.history.items():
            # A figure of these logs that is new was missing before them.
            place = 0 if name in (logs or {}) else len(values)
            values[place:place] = [math.nan] * (len(self.epoch) - len(values))


@contextlib.contextmanager
def released(callbacks: keras.callbacks.CallbackList) -> Iterator[None]:
    """At the end, call `release` of the callbacks that have it, the first one last, even if there is an exception."""
    with contextlib.ExitStack() as stack:
        for callback in callbacks.callbacks:
            if hasattr(callback, "release"):
                stack.callback(callback.release)
        yield


def list_of(callbacks: Callbacks) -> list[keras.callbacks.Callback]:
    """Return callbacks as a list.

    Raises:
      TypeError: they are neither a callback, nor a list or tuple, nor None.
      ValueError: a callback monitors a figure of which Keras does not know whether more is better.
    """
    check_types(callbacks=(callbacks, keras.callbacks.Callback | list | tuple | None))
    found = [callbacks] if isinstance(callbacks, keras.callbacks.Callback) else list(callbacks or ())
    for callback in found:
        # Keras itself raises after the first iteration. It knows the direction of a loss, which has no slash.
        if isinstance(callback, _MONITORS) and callback.mode == "auto" and "/" in callback.monitor:
            raise ValueError(
                f"{type(callback).__name__} monitors {callback.monitor}, of which Keras does not know whether more is "
                'better: give it mode="max" or mode="min"'
            )
    return found


def with_history(callbacks: Sequence[keras.callbacks.Callback]) -> list[Any]:
    """Add an `EvenHistory`, and skip a `ModelCheckpoint` of the best model where its figure is missing."""
    # The history is last, so that it has what other callbacks add.
    return [*map(if_figure_exists, callbacks), EvenHistory()]


def callback_list(
    agent: keras.Model,
    trainer: Trainer,
    callbacks: Sequence[keras.callbacks.Callback],
    total_steps: int,
    verbose: int,
) -> keras.callbacks.CallbackList:
    """Make the Keras `CallbackList` of a fit, with a history, and a progress display unless `verbose` is 0."""
    goal, epochs = trainer.goal(total_steps)
    return keras.callbacks.CallbackList(
        with_history([*callbacks, *([Progress()] if verbose else [])]),
        model=agent,
        verbose=verbose,
        epochs=epochs,
        steps=1,
        total_steps=goal,
        trainer=trainer,
    )

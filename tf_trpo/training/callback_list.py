"""The Keras callback list of a fit, and the release of what its callbacks hold."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import keras

from tf_trpo.callbacks import Progress
from tf_trpo.callbacks.best_model import if_figure_exists
from tf_trpo.training.trainer import Trainer


@contextlib.contextmanager
def released(callbacks: keras.callbacks.CallbackList) -> Iterator[None]:
    """At the end, call `release` of the callbacks that have it, the first one last, even if there is an exception."""
    with contextlib.ExitStack() as stack:
        for callback in callbacks.callbacks:
            if hasattr(callback, "release"):
                stack.callback(callback.release)
        yield


def callback_list(
    agent: keras.Model,
    trainer: Trainer,
    callbacks: Sequence[keras.callbacks.Callback] | keras.callbacks.Callback,
    total_steps: int,
    verbose: int,
) -> keras.callbacks.CallbackList:
    """Make the Keras `CallbackList` of a fit, with a history, and a progress display unless `verbose` is 0."""
    given = [callbacks] if isinstance(callbacks, keras.callbacks.Callback) else list(callbacks)
    goal, epochs = trainer.goal(total_steps)
    return keras.callbacks.CallbackList(
        [*map(if_figure_exists, given), *([Progress()] if verbose else [])],
        add_history=True,
        model=agent,
        verbose=verbose,
        epochs=epochs,
        steps=1,
        total_steps=goal,
        trainer=trainer,
    )

"""The callbacks of a fit, as Keras calls them."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from tf_trpo.callbacks import Progress
from tf_trpo.callbacks.best_model import if_figure_exists
from tf_trpo.training.trainer import Trainer


def callback_list(
    agent: keras.Model,
    trainer: Trainer,
    callbacks: Sequence[keras.callbacks.Callback] | keras.callbacks.Callback,
    total_steps: int,
    verbose: int,
) -> keras.callbacks.CallbackList:
    """Make Keras' list of a fit's callbacks, with the progress that is shown if `verbose` is not 0, and a history."""
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

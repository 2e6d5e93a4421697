"""An agent from its file."""

from __future__ import annotations

import os

import keras

from tf_trpo.agents.trpo import TRPO


def load(path: str | os.PathLike[str]) -> TRPO:
    """Load an agent that was saved by `agent.save("NAME.keras")`.

    Raises:
      ValueError: there is no such file, or it holds something else.
    """
    try:
        agent = keras.saving.load_model(path)
    except (KeyError, OSError) as error:
        raise ValueError(f"{path} holds no Keras model: {error}") from error
    if not isinstance(agent, TRPO):
        raise ValueError(f"{path} holds a {type(agent).__name__}, not a TRPO agent")
    return agent

"""Loading of an agent from its file."""

from __future__ import annotations

import math
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tf_trpo.files import AGENT_FILE
from tf_trpo.training.faults import require_finite
from tf_trpo.training.keras_file import read_checked
from tf_trpo.training.optimizer_state import StateNotLoadedWarning
from tf_trpo.training.trpo import TRPO

_SLACK = 16 * 2**20
_TIMES = 4
"""The variables of an agent may take at most _SLACK + _TIMES * (bytes of the arrays in its file) bytes."""


def load(path: str | os.PathLike[str], *, custom_objects: Mapping[str, Any] | None = None) -> TRPO:
    """Load an agent that was saved by `agent.save("NAME.keras")`, by a run, or by an export with a model card.

    The file is treated as data: loading it imports no module, runs no code from it and reads no other file; see
    docs/security.md. Layers and functions of your own must be registered
    (keras.saving.register_keras_serializable) or passed as custom_objects.

    Args:
      path: the file, not a link; or a folder with the file agent.keras, such as the folder of a run, or of a model
        that was exported with a card. The folder of an exported model alone holds no agent.
      custom_objects: classes and functions by name, in addition to the registered ones.

    Raises:
      ValueError: the file is missing or damaged, holds something else, or names something that is neither a harmless
        part of Keras nor registered.
    """
    objects = dict(custom_objects or {})
    path = Path(path, AGENT_FILE) if os.path.isdir(path) else path
    with tempfile.TemporaryDirectory(prefix="tf_trpo-load-") as folder, warnings.catch_warnings():
        # With these warnings, the agent would differ from the one that was saved. The second one is Keras'.
        warnings.filterwarnings("error", category=StateNotLoadedWarning)
        warnings.filterwarnings("error", "Skipping nested container")
        try:
            content, size = read_checked(path, objects, TRPO)
            copy = Path(folder) / "agent.keras"
            copy.write_bytes(content)
            with _no_larger_than(_SLACK + _TIMES * size):
                agent = keras.saving.load_model(copy, custom_objects=objects, safe_mode=True)
            require_finite(agent.learner.variables() if agent.compiled else {"agent": agent.weights})
            return agent
        # Keras, h5py and the classes themselves raise many kinds of errors for invalid settings.
        except Exception as error:
            reason = " ".join(str(getattr(error, "strerror", None) or error).split())
            raise ValueError(f"{os.fspath(path)} cannot be loaded: {reason[:500]}") from error


@contextmanager
def _no_larger_than(limit: int) -> Iterator[None]:
    """Raise ValueError before a variable is allocated that would bring all variables above this many bytes."""
    left = limit

    def create(create_next: Any, **kwargs: Any) -> tf.Variable:
        nonlocal left
        left -= _bytes(kwargs["initial_value"])
        if left < 0:
            raise ValueError(f"config.json asks for more weights than the file has: above {limit} bytes")
        return create_next(**kwargs)

    with tf.variable_creator_scope(create):
        yield


def _bytes(initial_value: Any) -> int:
    """Return the bytes of a future variable: its initialiser is traced to find the shape, and not run."""
    if callable(initial_value):
        try:
            with tf.Graph().as_default():
                initial_value = initial_value()
        except Exception:
            # Keras' initialisers can be traced; one of a registered class may need a value at once.
            return 0
    shape = getattr(initial_value, "shape", ())
    return math.prod(size or 0 for size in shape) * tf.as_dtype(getattr(initial_value, "dtype", tf.float32)).size

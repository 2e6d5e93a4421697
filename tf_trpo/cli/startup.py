"""Starting TensorFlow without its chatter."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import tempfile

from tf_trpo.experiment.settings import use_threads
from tf_trpo.training.devices import prepare_gpus

_MANY = 100_000
"""New objects between two searches for garbage: imports and traces make millions of objects, and most of them stay."""


def start_keras(threads: int = 0) -> None:
    """Start TensorFlow for a command that needs Keras too; the argument is the same as for `start_tensorflow`.

    Raises:
      ValueError: the environment variable KERAS_BACKEND names another backend than TensorFlow.
    """
    backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
    if backend != "tensorflow":
        raise ValueError(f"KERAS_BACKEND is {backend}, and agents need Keras on TensorFlow: unset KERAS_BACKEND")
    start_tensorflow(threads)


def start_tensorflow(threads: int = 0) -> None:
    """Import TensorFlow and find its devices; show its messages only if it fails.

    TensorFlow's C++ side writes to standard error (no GPU here, oneDNN is on) before any setting is read.

    Args:
      threads: number of threads to compute with; 0 for all cores.
    """
    gc.set_threshold(_MANY, *gc.get_threshold()[1:])
    # The end of the process is no time to search them either: that would take seconds.
    atexit.register(gc.freeze)
    # Its loader of programs calls it an error that "prefer-no-gather" is no feature of a processor.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            import tensorflow as tf

            use_threads(threads)
            prepare_gpus()
            tf.config.list_logical_devices()
        except BaseException:
            said.seek(0)
            os.write(kept, said.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)

"""Start TensorFlow without its messages on standard error."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence

from tf_trpo.learning.devices import prepare_gpus, use_threads

_MANY = 100_000
"""Threshold of Python's garbage collector: imports and traces make millions of objects, and most of them stay."""

_FOR_NOTEBOOKS = ("IPython", "matplotlib", "pandas")
"""Packages that Keras and TensorFlow Probability import where they are installed, for notebooks, plots and tables, of
which commands show none. Without them, a command takes a second less of CPU time, and 60 MB less."""


def start_keras(threads: int = 0) -> None:
    """Start TensorFlow for a command that needs Keras too; `threads` is as for `start_tensorflow`.

    Raises:
      ValueError: the environment variable KERAS_BACKEND names another backend than TensorFlow.
    """
    backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
    if backend != "tensorflow":
        raise ValueError(f"KERAS_BACKEND is {backend}, and agents need Keras on TensorFlow: unset KERAS_BACKEND")
    start_tensorflow(threads)
    with _as_if_missing(_FOR_NOTEBOOKS):
        import tf_trpo.distributions.gaussian  # noqa: F401


def start_tensorflow(threads: int = 0) -> None:
    """Import TensorFlow and initialise its devices; show its messages only if this fails.

    Standard error is redirected meanwhile, because TensorFlow's C++ code writes to it (about GPUs and oneDNN) before
    any setting takes effect.

    Args:
      threads: number of TensorFlow's threads; 0 for all cores.
    """
    gc.set_threshold(_MANY, *gc.get_threshold()[1:])
    # A garbage collection at the end of the process would take seconds.
    atexit.register(gc.freeze)
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            with _as_if_missing(_FOR_NOTEBOOKS):
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


@contextlib.contextmanager
def _as_if_missing(packages: Sequence[str]) -> Iterator[None]:
    """Let imports of packages fail in this context, as if they were not installed; later imports find them."""
    hidden = [name for name in packages if name not in sys.modules]
    # Python's import raises ModuleNotFoundError for a module that is None here.
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]

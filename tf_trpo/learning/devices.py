"""Settings of TensorFlow's devices: the number of threads, and GPUs."""

from __future__ import annotations

import contextlib

from tf_trpo.lazy import tensorflow as tf


def prepare_gpus() -> None:
    """Let TensorFlow allocate GPU memory as needed, and disable TF32; do nothing without a GPU.

    By default TensorFlow allocates all memory at once, and rounds the factors of products to the 10 bits of TF32. That
    would be too inexact for the KL's limit, the symmetry of Fisher-vector products and conjugate gradient. Both
    settings hold for the whole process. If TensorFlow is initialised already, its memory allocation is not changed.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return
    for gpu in gpus:
        with contextlib.suppress(RuntimeError):
            tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.experimental.enable_tensor_float_32_execution(False)


def use_threads(threads: int) -> None:
    """Set the number of TensorFlow's threads; 0 keeps TensorFlow's default.

    Raises:
      ValueError: TensorFlow already runs with another number.
    """
    config = tf.config.threading
    if not threads or config.get_intra_op_parallelism_threads() == threads:
        return
    try:
        config.set_intra_op_parallelism_threads(threads)
        # Otherwise stages of an update that run in parallel would take a core each.
        config.set_inter_op_parallelism_threads(threads)
    except RuntimeError:
        raise ValueError("threads must be set before TensorFlow starts: begin with them in a new process") from None

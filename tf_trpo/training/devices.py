"""GPU settings."""

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

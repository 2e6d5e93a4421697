"""Graphics processors, if there are any."""

from __future__ import annotations

import contextlib

from tf_trpo.lazy import tensorflow as tf


def prepare_gpus() -> None:
    """Let TensorFlow take a GPU's memory as it needs it, and multiply float32 in float32; nothing without a GPU.

    By default TensorFlow takes all the memory at once, and rounds the factors of products to the 10 bits of TF32. The
    KL's limit, the symmetry of Fisher-vector products and conjugate gradient would be those of other numbers then. Both
    are settings of the whole process. If TensorFlow has begun to work, its way to take memory stays as it is.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return
    for gpu in gpus:
        with contextlib.suppress(RuntimeError):
            tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.experimental.enable_tensor_float_32_execution(False)

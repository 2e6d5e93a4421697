"""The threads that TensorFlow computes with."""

from __future__ import annotations

from tf_trpo.lazy import tensorflow as tf


def use_threads(threads: int) -> None:
    """Let TensorFlow compute with this many threads; 0 leaves its own number.

    Raises:
      ValueError: TensorFlow already runs with another number.
    """
    config = tf.config.threading
    if not threads or config.get_intra_op_parallelism_threads() == threads:
        return
    try:
        config.set_intra_op_parallelism_threads(threads)
        # The stages of an update that run at the same time would take a core each.
        config.set_inter_op_parallelism_threads(threads)
    except RuntimeError:
        raise ValueError("threads must be set before TensorFlow starts: begin with them in a new process") from None

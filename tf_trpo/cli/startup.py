"""Starting TensorFlow without its chatter."""

from __future__ import annotations

import os
import sys
import tempfile


def start_tensorflow(threads: int = 0) -> None:
    """Import TensorFlow and find its devices; show its messages only if it fails.

    TensorFlow's C++ side writes to standard error (no GPU here, oneDNN is on) before any setting is read.

    Args:
      threads: number of threads to compute with; 0 for all cores.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            import tensorflow as tf

            if threads:
                tf.config.threading.set_intra_op_parallelism_threads(threads)
                # The stages of an update that run at the same time would take a core each.
                tf.config.threading.set_inter_op_parallelism_threads(threads)
            tf.config.list_logical_devices()
        except BaseException:
            said.seek(0)
            os.write(kept, said.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)

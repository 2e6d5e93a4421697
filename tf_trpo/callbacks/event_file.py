"""An event file of TensorBoard, made without TensorFlow's summary operations, which take ten times as long."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import tensorflow as tf
from tensorboard.compat.proto import event_pb2, summary_pb2

PATTERN = "events.out.tfevents.*"


class EventFile:
    """A new file in a folder.

    The file begins with the START of a session, at which TensorBoard drops the later steps of older files.

    Args:
      log_dir: the folder; made if it is missing.
      steps: environment steps of the last event that TensorBoard keeps.

    Raises:
      OSError: the file cannot be written; so do the methods.
    """

    def __init__(self, log_dir: str | os.PathLike[str], steps: int) -> None:
        Path(log_dir).mkdir(parents=True, exist_ok=True)
        # TensorBoard reads a folder's files in the order of their names.
        seconds, nanoseconds = divmod(time.time_ns(), 10**9)
        name = PATTERN.replace("*", f"{seconds:010d}.{nanoseconds:09d}.{socket.gethostname()}.{os.getpid()}")
        self._path = Path(log_dir) / name
        self._writer = tf.io.TFRecordWriter(str(self._path))
        self._write(file_version="brain.Event:2")
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(step=steps + 1 if steps else 0, session_log=start)

    def add(self, step: int, summaries: Iterable[summary_pb2.Summary]) -> None:
        """Write Summaries as one event, which readers see at once."""
        values = [value for summary in summaries for value in summary.value]
        self._write(step=step, summary=summary_pb2.Summary(value=values))
        with self._operating_system_errors():
            self._writer.flush()

    def add_graph(self, graph: tf.Graph) -> None:
        """Write the graph of the graph dashboard."""
        self._write(graph_def=graph.as_graph_def(add_shapes=True).SerializeToString())

    def close(self) -> None:
        """Close the file; may be called twice."""
        with self._operating_system_errors():
            self._writer.close()

    def _write(self, **event: object) -> None:
        with self._operating_system_errors():
            self._writer.write(event_pb2.Event(wall_time=time.time(), **event).SerializeToString())

    @contextlib.contextmanager
    def _operating_system_errors(self) -> Iterator[None]:
        """Turn TensorFlow's own errors, such as of a full disk, into OSError."""
        try:
            yield
        except tf.errors.OpError as error:
            raise OSError(f"{self._path} cannot be written: {error.message}") from None

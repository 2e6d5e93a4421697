"""Write a TensorBoard event file without TensorFlow's summary operations, which take ten times as long."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import tensorflow as tf
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer import event_file_writer, record_writer

PATTERN = "events.out.tfevents.*"


class EventFile:
    """A new event file in a folder.

    The file begins with a session START, at which TensorBoard drops later steps of older files.

    TensorBoard's own `EventFileWriter` makes the file, because programs such as wandb (`sync_tensorboard=True`) replace
    that class to learn the folder. All further events are written here, immediately and without a thread, so that an
    error such as a full disk is raised where it happens.

    Args:
      log_dir: the folder; made if it is missing.
      steps: environment steps of the last event that TensorBoard keeps.

    Raises:
      OSError: from the constructor and all methods: the file cannot be written.
    """

    def __init__(self, log_dir: str | os.PathLike[str], steps: int) -> None:
        self._path = _begun(Path(log_dir))
        self._writer = record_writer.RecordWriter(open(self._path, "ab"))  # noqa: SIM115  `close` closes it
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(step=steps + 1 if steps else 0, session_log=start)

    def add(self, step: int, summaries: Iterable[summary_pb2.Summary]) -> None:
        """Write Summaries as one event, and flush the file."""
        values = [value for summary in summaries for value in summary.value]
        self._write(step=step, summary=summary_pb2.Summary(value=values))
        with self._named_errors():
            self._writer.flush()

    def add_graph(self, graph: tf.Graph) -> None:
        """Write a graph for the graph dashboard."""
        self._write(graph_def=graph.as_graph_def(add_shapes=True).SerializeToString())

    def close(self) -> None:
        """Close the file; further calls have no effect."""
        with self._named_errors():
            self._writer.close()

    def _write(self, **event: object) -> None:
        with self._named_errors():
            self._writer.write(event_pb2.Event(wall_time=time.time(), **event).SerializeToString())

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OSError(f"{self._path} cannot be written: {error.strerror or error}") from None


def _begun(folder: Path) -> Path:
    """Make an event file by TensorBoard's writer, which writes the version to it, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    before = set(folder.glob(PATTERN))
    try:
        event_file_writer.EventFileWriter(str(folder)).close()
    except tf.errors.OpError as error:
        raise OSError(f"{folder} cannot be written: {error.message}") from None
    path = next(path for path in folder.glob(f"{PATTERN}.{os.getpid()}.*") if path not in before)
    # TensorBoard reads files in the order of their names, which begin with the time in seconds. Older files may have
    # the same second, or later ones if the clock was set back.
    second = max([_second(path), *(_second(other) + 1 for other in before)])
    words = path.name.split(".")
    return path.rename(path.with_name(".".join([*words[:3], f"{second:010d}", *words[4:]])))


def _second(path: Path) -> int:
    """Return the time in the name of an event file; 0 if it has none."""
    number = path.name.split(".")[3]
    return int(number) if number.isdecimal() else 0

"""The other side of a comparison: a process of another Python, which has sb3-contrib."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from benchmarks.workloads import Job

_PROGRAM = Path(__file__).with_name("sb3_program.py")


class Peer:
    """Runs one job at a time."""

    def __init__(self, process: subprocess.Popen[str], said: IO[str]) -> None:
        self._said = said
        self._process = process

    def run(self, job: Job) -> float:
        """Repeat a job once and return its figure; the first call also prepares the job.

        Raises:
          RuntimeError: the other Python failed; the message is the last line that it printed.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(job._asdict()) + "\n")
            self._process.stdin.flush()
            return float(json.loads(self._process.stdout.readline())["figure"])
        except (OSError, ValueError, KeyError, TypeError):
            raise RuntimeError(f"the peer could not run sb3-contrib: {self._last_words()}") from None

    def _last_words(self) -> str:
        self._process.kill()
        self._process.wait()
        self._said.seek(0)
        lines = self._said.read().strip().splitlines()
        return lines[-1] if lines else "it said nothing"


@contextlib.contextmanager
def start_peer(python: Path) -> Iterator[Peer]:
    """Start the peer's program; it ends with the context.

    Args:
      python: path of a Python that has sb3-contrib.
    """
    # A file, because nobody reads a pipe while the program runs: the pipe would fill up and block the program.
    with tempfile.TemporaryFile("w+") as said:
        # Environments of this repository are named from its folder.
        path = {**os.environ, "PYTHONPATH": str(_PROGRAM.parents[1])}
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [str(python), str(_PROGRAM)], stdin=pipe, stdout=pipe, stderr=said, text=True, env=path
        )
        try:
            yield Peer(process, said)
        finally:
            process.kill()
            # The program's unread input is lost with it.
            with contextlib.suppress(BrokenPipeError):
                process.communicate()

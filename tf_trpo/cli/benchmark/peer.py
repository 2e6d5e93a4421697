"""The other side of a comparison: a process of a Python that has sb3-contrib."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tf_trpo.cli.benchmark.workloads import Job
from tf_trpo.cli.errors import UsageError

_PROGRAM = Path(__file__).with_name("sb3_program.py")


class Peer:
    """Runs jobs one at a time, each when asked."""

    def __init__(self, python: Path, process: subprocess.Popen[str], said: IO[str]) -> None:
        self._python = python
        self._said = said
        self._process = process

    def run(self, job: Job) -> float:
        """One repeat of a job; the first also prepares it.

        Raises:
          UsageError: the other Python failed.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(job._asdict()) + "\n")
            self._process.stdin.flush()
            return float(json.loads(self._process.stdout.readline())["figure"])
        except (OSError, ValueError, KeyError, TypeError):
            raise UsageError(f"{self._python} could not run sb3-contrib: {self._last_words()}") from None

    def _last_words(self) -> str:
        self._process.kill()
        self._process.wait()
        self._said.seek(0)
        lines = self._said.read().strip().splitlines()
        return lines[-1] if lines else "it said nothing"


@contextlib.contextmanager
def start_peer(python: Path) -> Iterator[Peer]:
    """Start the program; it ends with the context.

    Raises:
      UsageError: there is no such Python.
    """
    # Not a pipe, which would fill up and block it: nobody reads what it says unless it fails.
    with tempfile.TemporaryFile("w+") as said:
        try:
            process = subprocess.Popen(
                [str(python), str(_PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True
            )
        except OSError as error:
            raise UsageError(f"{python} cannot be run: {error.strerror}") from None
        try:
            yield Peer(python, process, said)
        finally:
            process.kill()
            # What it left unread is lost with it.
            with contextlib.suppress(BrokenPipeError):
                process.communicate()

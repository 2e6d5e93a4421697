"""Messages to the user, which never end a run: their reader may be gone, or the disk of their file may be full."""

from __future__ import annotations

import contextlib
import sys
from typing import TextIO


def say(message: str, file: TextIO | None = None) -> None:
    """Print a message if it can be written.

    Args:
      message: the text, without its last line break.
      file: where to print; by default standard error.
    """
    # RuntimeError: a signal handler prints while the code that it interrupted is printing.
    with contextlib.suppress(OSError, RuntimeError):
        print(message, file=file or sys.stderr, flush=True)

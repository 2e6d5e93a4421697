"""Messages to the user, which never end a run: their reader may be gone, or the disk of their file may be full."""

from __future__ import annotations

import contextlib
import sys
from typing import Any, Literal, TextIO, cast

Name = Literal["stdout", "stderr"]


class _Unfailing:
    """A stream whose writes never fail; all else is the stream's. Without a stream, what is written is dropped."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def write(self, text: str) -> int:
        # RuntimeError: a signal handler prints while the code that it interrupted is printing.
        with contextlib.suppress(OSError, RuntimeError):
            if self._stream is not None:
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            if self._stream is not None:
                self._stream.flush()


def stream(name: Name = "stderr") -> TextIO:
    """Return standard error or output, to which writes never fail, even if the process was started with it closed."""
    return cast(TextIO, _Unfailing(getattr(sys, name)))


def rounded(value: float, decimals: int = 1) -> str:
    """Format a number with some decimals; between -1 and 1 with four digits, so that no small number looks like 0."""
    return f"{value:.4g}" if 0 < abs(value) < 1 else f"{value:.{decimals}f}"


def say(message: str, on: Name = "stderr") -> None:
    """Print a message, if it can be written, on standard error or output."""
    print(message, file=stream(on), flush=True)

"""What goes wrong ends with one clear line, not with a traceback.

The exit status is 2 after bad input, 3 after a failed environment, 130 after Ctrl-C.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_LONGEST = 1000
_INTERRUPTED = 128 + signal.SIGINT


class UsageError(Exception):
    """What the user asked for cannot be done; the message says what, where and what to do."""


class FailedError(Exception):
    """What was begun cannot be finished, through no fault of what the user asked for; the message says why."""

    status = 3


class NotWrittenError(FailedError):
    """A run folder cannot be written to any more."""

    status = 1


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn these errors into a line on standard error and an exit status."""
    try:
        yield
    except UsageError as error:
        message, status = str(error), 2
    except FailedError as error:
        message, status = str(error), error.status
    except OSError as error:
        # Of a path that was given; whatever is wrong with it, such as a name that is too long.
        message, status = f"{error.filename}: {error.strerror}" if error.filename else str(error), 2
    except KeyboardInterrupt:
        # While training, a first Ctrl-C is answered elsewhere: the iteration is finished (callbacks/stop_on_signal.py).
        message, status = "interrupted", _INTERRUPTED
    else:
        return
    print(f"error: {one_line(message)}", file=sys.stderr)
    raise SystemExit(status)


def one_line(message: str) -> str:
    """The message without line breaks, and with nothing in it that a terminal would act on."""
    words = " ".join(message.split())
    printable = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in words
    )
    return printable if len(printable) <= _LONGEST else f"{printable[:_LONGEST]} ..."

"""Convert errors to one line on standard error and an exit status, for every command.

The library raises ValueError, OSError, ImportError and its own errors for faults of settings, files and environments,
with messages for the user. Any other error, or a ValueError that code below the library raises, is a bug, and its
traceback is shown.
"""

from __future__ import annotations

import dis
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tf_trpo.extras import EXTRAS, not_installed
from tf_trpo.messages import say

_LONGEST = 1000
INTERRUPTED = 128 + signal.SIGINT
BAD_INPUT, NOT_WRITTEN, FAILED = 2, 1, 3
_STATUS = {
    "RunNotWrittenError": NOT_WRITTEN,
    "EnvironmentFailedError": FAILED,
    "InvalidStepError": FAILED,
    "TrainingFailedError": FAILED,
    "TuningFailedError": FAILED,
}
"""Exit statuses of the library's own errors and of their subclasses; all other errors have `BAD_INPUT`."""
_RAISING = ("RAISE_VARARGS", "RERAISE")
"""Python's bytecode instructions that raise."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn errors that a user can correct into a line on standard error and an exit status."""
    try:
        yield
    except KeyboardInterrupt:
        # During training, the first Ctrl-C does not get here: StopOnSignal finishes the iteration.
        message, status = "interrupted", INTERRUPTED
    except Exception as error:
        found = _status(error)
        if found is None:
            raise
        message, status = _message(error), found
    else:
        return
    say(f"error: {one_line(message)}")
    raise SystemExit(status)


@contextmanager
def unread_output_dropped() -> Iterator[None]:
    """At the end, drop the output that cannot be written; Python itself would then exit with status 120."""
    try:
        yield
    finally:
        # They are None in a process that was started with closed ones.
        for stream in filter(None, (sys.stdout, sys.stderr)):
            try:
                stream.flush()
            except OSError:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)


def check_written() -> None:
    """Raise OSError if standard output cannot be written, such as to a full disk; a reader may be gone."""
    if sys.stdout is not None:
        with suppress(BrokenPipeError):
            sys.stdout.flush()


def one_line(message: str) -> str:
    """Remove line breaks from a message, and escape control characters."""
    words = " ".join(message.split())
    printable = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in words
    )
    return printable if len(printable) <= _LONGEST else f"{printable[:_LONGEST]} ..."


def _status(error: Exception) -> int | None:
    """Return the exit status of an error; None if the error is a bug."""
    package, _, _ = type(error).__module__.partition(".")
    if package == "tf_trpo":
        # By name: importing the classes would import TensorFlow.
        return next((_STATUS[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in _STATUS), BAD_INPUT)
    if package == "gymnasium" or isinstance(error, OSError | ImportError):
        return BAD_INPUT
    return BAD_INPUT if isinstance(error, ValueError) and _is_ours(error) else None


def _is_ours(error: Exception) -> bool:
    """Return whether the library itself raised an error, and not code that the library calls."""
    innermost = error.__traceback__
    while innermost is not None and innermost.tb_next is not None:
        innermost = innermost.tb_next
    if innermost is None or innermost.tb_frame.f_globals.get("__name__", "").partition(".")[0] != "tf_trpo":
        return False
    # C code such as int() or zip() has no frame, so its errors seem to come from the line that calls it.
    code = innermost.tb_frame.f_code
    return any(step.offset == innermost.tb_lasti and step.opname in _RAISING for step in dis.get_instructions(code))


def _message(error: Exception) -> str:
    message = str(error)
    if isinstance(error, OSError) and error.filename:
        # Without the errno, which str(error) begins with.
        message = f"{error.filename}: {error.strerror}"
    if isinstance(error, ImportError) and error.name in EXTRAS:
        message = str(not_installed(error.name))
    return " ".join([message, *getattr(error, "__notes__", ())])

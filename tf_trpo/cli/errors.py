"""Bad input ends with one clear line and exit status 2, not with a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_LONGEST = 1000


class UsageError(Exception):
    """What the user asked for cannot be done; the message says what, where and what to do."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn errors that bad input causes into a line on standard error and exit status 2."""
    try:
        yield
    except UsageError as error:
        message = str(error)
    except OSError as error:
        # Of a path that was given; whatever is wrong with it, such as a name that is too long.
        message = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    else:
        return
    print(f"error: {one_line(message)}", file=sys.stderr)
    raise SystemExit(2)


def one_line(message: str) -> str:
    """The message without line breaks, and with nothing in it that a terminal would act on."""
    words = " ".join(message.split())
    printable = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in words
    )
    return printable if len(printable) <= _LONGEST else f"{printable[:_LONGEST]} ..."

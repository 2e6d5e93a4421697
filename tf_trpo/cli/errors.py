"""Bad input ends with one clear line and exit status 2, not with a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class UsageError(Exception):
    """What the user asked for cannot be done; the message says what, where and what to do."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn errors that bad input causes into a line on standard error and exit status 2."""
    try:
        yield
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None

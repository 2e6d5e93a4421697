"""Bad input ends with one clear line and exit status 2, a failed environment with 3, not with a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class UsageError(Exception):
    """What the user asked for cannot be done; the message says what, where and what to do."""


class FailedError(Exception):
    """What was begun cannot be finished, through no fault of what the user asked for; the message says why."""


FAILED = 3
"""Exit status when training or an environment failed."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn these errors into a line on standard error and an exit status."""
    try:
        yield
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except FailedError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(FAILED) from None

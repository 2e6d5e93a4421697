"""Lock folders against other processes, by flock(2); a lock ends with its process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

_held: set[int] = set()
"""Descriptors of this process's locks."""


def _forget_locks() -> None:
    while _held:
        os.close(_held.pop())


# A forked process, such as that of an environment, would keep the locks of this one after this one was killed.
if fcntl:
    os.register_at_fork(after_in_child=_forget_locks)


@contextmanager
def locked(path: Path, refusal: str) -> Iterator[bool]:
    """Lock a folder, or a file, which is made if it is missing, until the end; the system unlocks it after a kill.

    Args:
      path: the folder or file.
      refusal: message of the error.

    Yields:
      Whether it is locked: some file systems, and Windows, have no such locks.

    Raises:
      OSError: it cannot be opened.
      ValueError: it is locked already, by another process or this one.
    """
    if not fcntl:
        yield False
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
    _held.add(descriptor)
    try:
        is_locked = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(refusal) from None
        except OSError:
            is_locked = False
        # The previous owner may have removed it just before it was locked here.
        if not (path.exists() and os.path.samestat(os.fstat(descriptor), path.stat())):
            raise ValueError(refusal)
        yield is_locked
    finally:
        if descriptor in _held:
            _held.remove(descriptor)
            os.close(descriptor)

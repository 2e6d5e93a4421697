"""Reading presets, suites and config.json: files that people write, and that are small."""

from __future__ import annotations

import errno
from pathlib import Path

_LARGEST = 2**20


def read_small(path: Path) -> str:
    """The text of a file that is one, and not too large.

    Raises:
      OSError: it cannot be read, or is no file.
      ValueError: it is no UTF-8, or too large.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a file", str(path))
    with open(path, "rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError(f"it has more than {_LARGEST} bytes")
    return content.decode("utf-8")

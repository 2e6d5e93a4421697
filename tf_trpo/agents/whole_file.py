"""Files that are replaced at once, or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced_at_once(path: Path) -> Iterator[Path]:
    """A name beside a file, with its suffix: what is written there takes the file's place, on the disk first.

    Args:
      path: of the file that is to be; one that is there stays as it is until then, and where an error is raised.
    """
    aside = path.with_name(f".partial-{secrets.token_hex(4)}{path.suffix}")
    try:
        yield aside
        with open(aside, "rb+") as file:
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise

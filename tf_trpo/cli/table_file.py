"""Tables of results as a command reads them: what is wrong with one is said in a line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tf_trpo.cli.errors import UsageError

if TYPE_CHECKING:
    from tf_trpo.results.tables import Row


def read_rows(path: Path, record: type[Row], *, hint: str = "") -> list[Row]:
    """The rows of a table; arguments as for `tf_trpo.results.read_table`.

    Args:
      path, record: as there.
      hint: follows the message of a file that cannot be read.

    Raises:
      UsageError: it cannot be read, or is no such table.
    """
    from tf_trpo.results import read_table

    try:
        return read_table(path, record)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}{hint}") from None
    except ValueError as error:
        raise UsageError(str(error)) from None

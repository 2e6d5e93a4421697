"""Write files completely or not at all, and read small or untrusted files."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

AGENT_FILE = "agent.keras"
"""Name of the agent's file in the folder of a run, and in a folder with a model card."""
_LARGEST_SMALL = 2**20
_ASIDE = ".partial-"
"""Prefix of the names of files that are being written."""


@contextmanager
def replaced_at_once(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; at the end, the file written there replaces `path`.

    The file is on the disk before it is renamed, so a power cut leaves either the old file or the new one. If an
    exception is raised, the old file stays as it was and the new one is deleted.
    """
    aside = path.with_name(f"{_ASIDE}{secrets.token_hex(4)}{path.suffix}")
    try:
        yield aside
        _synchronise(aside)
        aside.replace(path)
        _synchronise_folder(path.parent)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_whole(path: Path, content: str | bytes) -> None:
    """Write text, as UTF-8, or bytes to a file, or replace the file at once.

    Raises:
      OSError: the file cannot be written; an old file stays as it was.
    """
    with replaced_at_once(path) as aside:
        aside.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def remove_leftovers(folder: Path) -> None:
    """Delete the partial files that killed processes have left in a folder."""
    for leftover in folder.glob(f"{_ASIDE}*"):
        leftover.unlink(missing_ok=True)


def read_small(path: Path) -> str:
    """Read the text of a file of at most 1 MiB that people write, such as a preset.

    Raises:
      OSError: the file cannot be read, or it is not a regular file.
      ValueError: the file is not UTF-8, or it is too large.
    """
    return read_untrusted(os.path.realpath(path), _LARGEST_SMALL).decode("utf-8")


class _AliasError(Exception):
    """YAML has an alias."""


class _WithoutAliases(yaml.SafeLoader):
    """Refuses aliases: a few lines of them stand for more values than memory can hold."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise _AliasError(f"*{self.peek_event().anchor}")
        return super().compose_node(parent, index)


def parsed_yaml(text: str, name: str) -> Any:
    """Parse YAML that people write, which may hold numbers, text, lists and mappings only.

    Raises:
      ValueError: the text is not YAML, or it has an alias; the message begins with the name.
    """
    try:
        return yaml.load(text, _WithoutAliases)
    except _AliasError as error:
        raise ValueError(f"{name} has the alias {error}: write its value in its place") from None
    # For malformed scalars, PyYAML passes on exceptions of int, datetime and dict look-ups.
    except Exception as error:
        raise ValueError(f"{name} is not YAML: {error}") from None


def read_untrusted(path: str | os.PathLike[str], largest: int) -> bytes:
    """Read a file that may come from an untrusted source, once, so that its content cannot change after a check.

    Raises:
      OSError: the file cannot be read, or it is a link, a folder, a pipe or a device.
      ValueError: the file has more bytes than `largest`.
    """
    if os.path.islink(path):
        raise OSError(errno.ELOOP, "it is a link; name the file itself", os.fspath(path))
    # O_NONBLOCK: opening a pipe does not wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no file", os.fspath(path))
        if status.st_size > largest:
            raise ValueError(f"it has {status.st_size} bytes, more than {largest}")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(status.st_size)
    finally:
        os.close(descriptor)


def _synchronise_folder(path: Path) -> None:
    try:
        _synchronise(path)
    except OSError as error:
        # Some file systems cannot synchronise folders. The file itself is complete.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

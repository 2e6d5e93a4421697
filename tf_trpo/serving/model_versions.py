"""TensorFlow Serving's layout NAME/VERSION/: find versions, and add new ones atomically."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tf_trpo.files import AGENT_FILE

# "01" and "1" would be one version with two folders; TensorFlow Serving's numbers are int64.
_VERSION = re.compile(r"0|[1-9][0-9]{0,18}")
_LARGEST = 2**63 - 1
_WRITING = ".writing-"
_ABANDONED = 86400.0
"""Seconds after which a folder that is being written counts as abandoned."""


def version_folders(model: Path) -> dict[int, Path]:
    """Return the folders of a model's versions by number, lowest first; other entries of the folder are ignored.

    Raises:
      OSError: the folder cannot be read.
    """
    names = [entry.name for entry in model.iterdir() if _VERSION.fullmatch(entry.name) and entry.is_dir()]
    return {number: model / str(number) for number in sorted(map(int, names)) if number <= _LARGEST}


def no_version(folder: Path) -> str:
    """Return a message that a folder holds no version of a model, with advice if the folder is something else."""
    if (folder / "saved_model.pb").is_file():
        way_out = f"; serve {folder.resolve().parent}"
    elif (folder / "saved_model").is_dir():
        way_out = f"; the run's model is {folder / 'saved_model'}"
    elif (folder / AGENT_FILE).is_file():
        way_out = f"; export the run first: tf_trpo export {folder} --output {folder / 'saved_model'}"
    else:
        way_out = ""
    return f"{folder} holds no version: a folder with a number for a name{way_out}"


def add_version(model: Path, write: Callable[[Path], None]) -> Path:
    """Write the next version of a model.

    A version is written under another name, and gets its number when it is complete, so that no server sees a part of
    it. No version is ever replaced, even if two processes write at the same time.

    Args:
      model: folder of the model; made if it is missing.
      write: function that makes a folder at a path and fills it.

    Returns:
      The folder of the new version.

    Raises:
      OSError: the folder cannot be written.
    """
    model.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(model)
    with tempfile.TemporaryDirectory(dir=model, prefix=_WRITING) as folder:
        written = Path(folder) / "version"
        write(written)
        number = max(version_folders(model), default=0)
        while number < _LARGEST:
            number += 1
            target = model / str(number)
            try:
                return written.rename(target)
            except OSError:
                # Renaming never replaces a folder with content, or a file. If the number is taken, try the next one.
                if not os.path.lexists(target):
                    raise
        raise OSError(f"{model} has the largest number of a version already")


def _remove_abandoned(model: Path) -> None:
    """Remove what killed writers have left; none has been writing for a day."""
    for folder in model.glob(f"{_WRITING}*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _ABANDONED:
                shutil.rmtree(folder)

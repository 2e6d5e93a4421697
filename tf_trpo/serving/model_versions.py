"""NAME/VERSION/, the layout of TensorFlow Serving: finding versions, and adding whole ones."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from tf_trpo.files import AGENT_FILE

# "01" and "1" would be one version with two folders; TensorFlow Serving's numbers are int64.
_VERSION = re.compile(r"0|[1-9][0-9]{0,18}")
_LARGEST = 2**63 - 1


def version_folders(model: Path) -> dict[int, Path]:
    """Find the versions of a model, lowest first; other entries of its folder are ignored.

    Raises:
      OSError: the folder cannot be read.
    """
    names = [entry.name for entry in model.iterdir() if _VERSION.fullmatch(entry.name) and entry.is_dir()]
    return {number: model / str(number) for number in sorted(map(int, names)) if number <= _LARGEST}


def no_version(folder: Path) -> str:
    """Say that a folder holds no version of a model, and what to do if the folder is something else."""
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

    A version is written under another name and gets its number when it is whole, so that no server sees half of it. No
    version is ever replaced, even if two processes write at the same time.

    Args:
      model: folder of the model; made if it is missing.
      write: makes a folder at a path, and fills the folder.

    Returns:
      The folder of the new version.

    Raises:
      OSError: the folder cannot be written.
    """
    model.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=model, prefix=".writing-") as folder:
        written = Path(folder) / "version"
        write(written)
        while True:
            number = max(version_folders(model), default=0) + 1
            if number > _LARGEST:
                raise OSError(f"{model} has the largest number of a version already")
            target = model / str(number)
            try:
                return written.rename(target)
            except OSError:
                # If another writer took the number, try the next one: a folder with content is never renamed over.
                if not target.exists():
                    raise

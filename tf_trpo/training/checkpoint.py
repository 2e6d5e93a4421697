"""Checkpoints: files with everything that training needs to continue, written completely or not at all.

    DIRECTORY/steps-000000102400.ckpt

A file is a magic number, the SHA-256 of the rest, and the state in the safetensors format: numbered arrays, and
everything else as JSON. Reading a file returns dicts, lists, numbers, text and arrays, and runs no code.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from tf_trpo.files import read_untrusted, remove_leftovers, replaced_at_once

_MAGIC = b"tf_trpo checkpoint 3\n"
_JSON = "json"
"""Name of the array that holds the JSON part."""
_ARRAY = "tf_trpo/array"
"""The only key of a JSON object that stands for an array."""
_NAME = re.compile(r"steps-(\d{12,})\.ckpt")
_LARGEST = 8 * 2**30


class CheckpointError(ValueError):
    """A checkpoint is damaged, foreign, or of another agent; the message names the file and the fault."""


def write_checkpoint(
    state: dict[str, Any],
    directory: Path,
    steps: int,
    *,
    keep: int,
    overwrite: bool = False,
    discard_newer: bool = False,
) -> Path:
    """Write a checkpoint, verify it on the disk, rename it, and only then delete old ones.

    Damaged checkpoints of more steps, which a resumed run has skipped, are deleted.

    Args:
      state: nested dicts and lists of arrays, numbers, text and None, with text as keys.
      directory: folder of the checkpoints; made if it is missing.
      steps: environment steps of the agent.
      keep: number of newest checkpoints to keep, >= 1, the new one included.
      overwrite: replace an intact checkpoint of the same number of steps; by default it stays as it is.
      discard_newer: delete intact checkpoints of more steps, too, which are this fit's; by default they are refused.

    Returns:
      The checkpoint's path.

    Raises:
      OSError: the file cannot be written; the older files are unchanged.
      CheckpointError: the written file does not read back, or the folder belongs to another fit; the older files are
        unchanged.
    """
    if not discard_newer:
        check_directory(directory, steps)
    directory.mkdir(parents=True, exist_ok=True)
    remove_leftovers(directory)
    path = directory / f"steps-{steps:012d}.ckpt"
    if overwrite or not _is_whole(path):
        try:
            with replaced_at_once(path) as aside:
                aside.write_bytes(_encoded(state))
                _decoded(aside, _verified(aside))
        except OSError as error:
            raise OSError(f"checkpoint {path} cannot be written: {error.strerror or error}") from error
    present = _newest_first(directory)
    kept = [other for other in present if _steps(other) <= steps][:keep]
    for other in set(present) - set(kept):
        other.unlink()
    return path


def check_directory(directory: Path, steps: int) -> None:
    """Check that a fit may write its checkpoints to a folder when its agent has taken this many steps.

    Raises:
      CheckpointError: the folder is a link, or has an intact checkpoint of more steps, which is another fit's.
    """
    for path in _newest_first(directory):
        if _steps(path) > steps and _is_whole(path):
            raise CheckpointError(
                f"{directory} holds {path.name}, and the agent is at {steps} steps: the folder belongs to another fit; "
                "resume that one, or name another folder"
            )


def read_checkpoint(path: Path) -> tuple[Path, dict[str, Any]]:
    """Read a checkpoint, or the newest intact one of a folder.

    Returns:
      The checkpoint's path, and the state that was written.

    Raises:
      CheckpointError: there is no intact checkpoint; the message says what is wrong with each damaged one.
    """
    reasons = []
    for candidate in [path] if _NAME.fullmatch(path.name) else _newest_first(path):
        try:
            return candidate, _decoded(candidate, _verified(candidate))
        except CheckpointError as error:
            reasons.append(str(error))
    raise CheckpointError("; ".join(reasons) or f"{path} holds no checkpoint")


@contextmanager
def restoring(path: Path, owner: str) -> Iterator[dict[str, Any]]:
    """Yield the state in a checkpoint, or in the newest intact one of a folder, to be restored by its owner.

    Raises:
      CheckpointError: there is no intact checkpoint, or the owner cannot restore its state.
    """
    path, state = read_checkpoint(path)
    try:
        yield state
    # Errors of a state from an untrusted file: parts are missing, or of wrong types.
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} is not a checkpoint of this {owner}: {error}") from error


def whole_number(value: Any) -> int:
    """Return a counter from a checkpoint; raise ValueError unless it is an int in [0, 2^63)."""
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"a counter is {str(value)[:100]}")
    return value


def _encoded(state: dict[str, Any]) -> bytes:
    arrays: dict[str, np.ndarray] = {}

    def put(array: Any) -> dict[str, str]:
        """Store an array, and return the JSON object that stands for it."""
        assert isinstance(array, np.ndarray), f"{type(array).__name__} in the state of a checkpoint"
        name = str(len(arrays))
        arrays[name] = np.ascontiguousarray(array).reshape(array.shape)
        return {_ARRAY: name}

    text = json.dumps(state, default=put, allow_nan=False)
    payload = save({_JSON: np.frombuffer(text.encode(), np.uint8), **arrays})
    return _MAGIC + hashlib.sha256(payload).digest() + payload


def _verified(path: Path) -> bytes:
    """Read the payload of a file, and check it against its SHA-256."""
    try:
        content = read_untrusted(path, _LARGEST)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not content.startswith(_MAGIC):
        raise CheckpointError(f"{path} is not a checkpoint of this version")
    start = len(_MAGIC) + hashlib.sha256().digest_size
    payload = content[start:]
    if content[len(_MAGIC) : start] != hashlib.sha256(payload).digest():
        raise CheckpointError(f"{path} is not as it was written: its SHA-256 differs")
    return payload


def _decoded(path: Path, payload: bytes) -> dict[str, Any]:
    try:
        arrays = load(payload)
        return json.loads(
            arrays[_JSON].tobytes(),
            object_hook=lambda found: arrays[found[_ARRAY]] if found.keys() == {_ARRAY} else found,
        )
    # Errors that the two libraries raise for untrusted files.
    except (SafetensorError, ValueError, LookupError, TypeError, RecursionError, AttributeError) as error:
        raise CheckpointError(f"{path} is not a checkpoint: {error}") from None


def _is_whole(path: Path) -> bool:
    try:
        _verified(path)
    except CheckpointError:
        return False
    return True


def _newest_first(directory: Path) -> list[Path]:
    if directory.is_symlink():
        raise CheckpointError(f"{directory} is a symbolic link")
    present = directory.iterdir() if directory.is_dir() else ()
    return sorted((path for path in present if _NAME.fullmatch(path.name)), key=_steps, reverse=True)


def _steps(path: Path) -> int:
    return int(path.name.removeprefix("steps-").removesuffix(".ckpt"))

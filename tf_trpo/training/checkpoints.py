"""Checkpoints: folders that hold all that training needs to go on, written whole or not at all.

    DIRECTORY/steps-000000102400/
      variables.index, variables.data-...   tf.train.Checkpoint: weights, optimizers, statistics, counters
      loop.json, loop.npz                   the fit loop, and the environments' states and generators
      manifest.json                         size and SHA-256 of each file

Reading one runs no code and makes no object that was not there: variables are restored into those of an agent of the
same structure, numbers into arrays, JSON into numbers and text.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf

from tf_trpo.training.faults import require_finite
from tf_trpo.training.loop_state import LoopState

if TYPE_CHECKING:
    from tf_trpo.training.agent import TRPO

_FORMAT = 2
_VARIABLES = "variables"
_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
"""Of the keys of tf.train.Checkpoint."""
_FILES = frozenset({f"{_VARIABLES}.index", f"{_VARIABLES}.data-00000-of-00001", "loop.json", "loop.npz"})
_MANIFEST = "manifest.json"
_ASIDE = ".partial-"
"""Begins the names of what is being written, or on its way out."""
_NAME = re.compile(r"steps-\d{12,}")
_LARGEST_JSON = 64 * 2**20
_LARGEST_ARRAYS = 4 * 2**30
# TensorFlow raises IndexError where a file ends early.
_UNREADABLE = (
    ValueError,
    LookupError,
    OSError,
    RecursionError,
    OverflowError,
    zipfile.BadZipFile,
    tf.errors.OpError,
)
"""What the readers raise at files that a stranger has made."""


class CheckpointError(ValueError):
    """A checkpoint is damaged, foreign, or of another agent; the message says which and what is wrong."""


def write_checkpoint(agent: TRPO, state: LoopState, directory: Path, *, keep: int) -> Path:
    """Write a checkpoint aside, verify it, rename it, and only then delete the oldest ones.

    A whole one of the same number of steps stays as it is, and nothing is written. Of the others, those of fewer
    steps are counted by `keep`; damaged ones of more steps, which a resumption has passed over, are deleted.

    Args:
      agent: compiled.
      state: of the loop that trains it.
      directory: of the checkpoints; made when missing.
      keep: whole ones to keep, >= 1.

    Returns:
      The checkpoint's folder.

    Raises:
      OSError: it cannot be written; the older ones are as they were.
      CheckpointError: what was written does not read back, or the folder is that of another fit; likewise.
      TrainingFailedError: a weight is not finite; nothing is written.
    """
    require_finite(_variables(agent))
    steps = int(agent.env_steps.numpy())
    check_directory(directory, steps)
    final = directory / f"steps-{steps:012d}"
    directory.mkdir(parents=True, exist_ok=True)
    for leftover in directory.glob(f"{_ASIDE}*"):
        _remove(leftover)
    if _is_whole(final):
        return final
    aside = directory / f"{_ASIDE}{final.name}"
    try:
        aside.mkdir()
        _write_files(agent, state, aside)
        _synchronise(aside)
        verify_checkpoint(aside)
        if os.path.lexists(final):
            final.rename(directory / f"{_ASIDE}damaged-{final.name}")
        aside.rename(final)
        _synchronise(directory, files=False)
    except (OSError, tf.errors.OpError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        reason = getattr(error, "strerror", None) or getattr(error, "message", str(error))
        raise OSError(f"checkpoint {final} cannot be written: {reason}") from error
    except CheckpointError:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    _remove_others(directory, steps, keep)
    return final


def check_directory(directory: Path, steps: int) -> None:
    """Refuse a folder that a fit which has taken so many steps should not write its checkpoints to.

    Raises:
      CheckpointError: it is a link, or holds a whole checkpoint of more steps, which is then another fit's.
    """
    _refuse_link(directory)
    for path in _newest_first(directory):
        if _steps(path) <= steps:
            break
        if _is_whole(path):
            raise CheckpointError(
                f"{directory} holds {path.name}, and the agent is at {steps} steps: it belongs to another fit; "
                "go on with that one, or name another folder"
            )


def is_checkpoint(path: Path) -> bool:
    """Whether a folder is named as a checkpoint, rather than as a folder of them."""
    return _NAME.fullmatch(path.name) is not None


def newest_checkpoint(directory: Path) -> Path:
    """The newest whole checkpoint of a folder.

    Raises:
      CheckpointError: there is none, or the folder is a link; the message says what is wrong with those that are there.
    """
    _refuse_link(directory)
    reasons = []
    for path in _newest_first(directory):
        try:
            verify_checkpoint(path)
        except CheckpointError as error:
            reasons.append(str(error))
        else:
            return path
    raise CheckpointError("; ".join(reasons) or f"{directory} holds no checkpoint")


def verify_checkpoint(path: Path) -> None:
    """Check that a checkpoint has just the files that it should, and these the contents that were written.

    Raises:
      CheckpointError: it has not.
    """
    manifest = _read_json(path, _MANIFEST)
    if manifest.get("format") != _FORMAT:
        raise CheckpointError(f"{path} has format {manifest.get('format')!r}, this version reads {_FORMAT}")
    files = manifest.get("files")
    if not isinstance(files, dict) or files.keys() != _FILES:
        raise CheckpointError(f"{path / _MANIFEST} does not list the files of a checkpoint")
    for name, entry in files.items():
        file = _regular(path, name)
        if entry != _fingerprint(file):
            raise CheckpointError(f"{file} is not as it was written: its size or SHA-256 differs")


class Checkpoint(NamedTuple):
    """What was read, and fits an agent.

    Attributes:
      path: of its folder.
      state: of the loop that trained the agent.
      variables: of the agent, each with the value that it had.
      iterations: of the agent.
    """

    path: Path
    state: LoopState
    variables: list[tuple[Any, np.ndarray]]
    iterations: int

    def restore(self) -> None:
        """Make the agent the one that was saved."""
        for variable, value in self.variables:
            variable.assign(value)


def read_checkpoint(agent: TRPO, path: Path) -> Checkpoint:
    """Read and check a checkpoint; `Checkpoint.restore` then assigns it.

    Args:
      agent: compiled, with networks and optimizers like those of the agent that was saved.
      path: the checkpoint's folder, or a folder of checkpoints for its newest whole one.

    Raises:
      CheckpointError: it is damaged, or one of another agent.
    """
    if is_checkpoint(path):
        verify_checkpoint(path)
    else:
        path = newest_checkpoint(path)
    try:
        state = LoopState.unpacked(_read_json(path, "loop.json"), _read_arrays(path / "loop.npz"))
        reader = tf.train.load_checkpoint(str(path / _VARIABLES))
        _check_variables(agent, reader)
        variables = [
            (variable, reader.get_tensor(f"{group}/{position}{_SUFFIX}"))
            for group, variables in _variables(agent).items()
            for position, variable in enumerate(variables)
        ]
        iterations = _check_values(state, variables)
    except _UNREADABLE as error:
        raise CheckpointError(f"{path} is no checkpoint of this agent: {' '.join(str(error).split())}") from error
    return Checkpoint(path, state, variables, iterations)


def _check_values(state: LoopState, variables: list[tuple[Any, np.ndarray]]) -> int:
    """Refuse values that no training has; the number of iterations."""
    for variable, value in variables:
        if not np.isfinite(value).all():
            raise ValueError(f"its variable {variable.path} is not finite")
    env_steps, iterations = (int(value) for _, value in variables[-2:])
    if not (0 <= state.start_steps <= env_steps and 0 <= state.start_iterations <= iterations):
        raise ValueError(f"its counters ({env_steps} steps, {iterations} iterations) are those of no training")
    return iterations


def _variables(agent: TRPO) -> dict[str, list[Any]]:
    """All variables by group, in an order that the agent's structure fixes; the counters are the last."""
    return {
        "policy": list(agent.policy.weights),
        "value_function": list(agent.value_function.weights),
        "return_scale": list(agent.return_scale.weights),
        "value_optimizer": list(agent.optimizer.variables),
        "policy_optimizer": list(agent.policy_optimizer.variables),
        "policy_average": [] if agent.policy_average is None else list(agent.policy_average.weights),
        "counters": [agent.env_steps, agent.iterations],
    }


def _check_variables(agent: TRPO, reader: Any) -> None:
    shapes = reader.get_variable_to_shape_map()
    types = reader.get_variable_to_dtype_map()
    found = {
        name.removesuffix(_SUFFIX): (tuple(shape), types[name])
        for name, shape in shapes.items()
        if name.endswith(_SUFFIX) and not name.startswith("save_counter")
    }
    expected = {
        f"{group}/{position}": (tuple(variable.shape), tf.as_dtype(variable.dtype))
        for group, variables in _variables(agent).items()
        for position, variable in enumerate(variables)
    }
    differing = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    if differing:
        raise ValueError(f"its variables differ in {', '.join(differing[:5])}")


def _write_files(agent: TRPO, state: LoopState, folder: Path) -> None:
    plain, arrays = state.packed()
    tf.train.Checkpoint(**_variables(agent)).write(str(folder / _VARIABLES))
    (folder / "loop.json").write_text(json.dumps(plain), encoding="utf-8")
    np.savez(folder / "loop.npz", allow_pickle=False, **arrays)
    files = {name: _fingerprint(folder / name) for name in sorted(_FILES)}
    manifest = {"format": _FORMAT, "files": files}
    (folder / _MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _synchronise(folder: Path, *, files: bool = True) -> None:
    """Have the disk hold what was written, so that a rename never outlives its contents."""
    for path in [*(folder.iterdir() if files else ()), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _newest_first(directory: Path) -> Iterator[Path]:
    if not directory.is_dir():
        return iter(())
    named = [path for path in directory.iterdir() if is_checkpoint(path)]
    return iter(sorted(named, key=_steps, reverse=True))


def _steps(path: Path) -> int:
    return int(path.name.removeprefix("steps-"))


def _is_whole(path: Path) -> bool:
    try:
        verify_checkpoint(path)
    except CheckpointError:
        return False
    return True


def _remove_others(directory: Path, steps: int, keep: int) -> None:
    """Delete what the checkpoint of so many steps makes superfluous; `check_directory` has seen to whole newer ones."""
    others = [path for path in _newest_first(directory) if _steps(path) != steps]
    older = [path for path in others if _steps(path) < steps]
    for path in {*others} - {*older[: keep - 1]} | {*directory.glob(f"{_ASIDE}*")}:
        _remove(path)


def _remove(path: Path) -> None:
    """Delete a folder, or what has the name of one; never what a link leads to."""
    if path.is_symlink() or not path.is_dir():
        path.unlink()
    else:
        shutil.rmtree(path)


def _refuse_link(directory: Path) -> None:
    if directory.is_symlink():
        raise CheckpointError(f"{directory} is a symbolic link")


def _regular(folder: Path, name: str) -> Path:
    path = folder / name
    if folder.is_symlink() or path.is_symlink() or not path.is_file():
        raise CheckpointError(f"{path} is missing, or is a link")
    return path


def _fingerprint(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        return {"size": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    path = _regular(folder, name)
    if path.stat().st_size > _LARGEST_JSON:
        raise CheckpointError(f"{path} is too large")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no JSON object")
    return content


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        # np.savez does not compress: what would grow in memory is none of its files.
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError(f"{path.name} is compressed")
        if sum(entry.file_size for entry in entries) > min(_LARGEST_ARRAYS, path.stat().st_size):
            raise ValueError(f"{path.name} is too large")
        for entry in entries:
            _check_array(archive, entry)
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _check_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Refuse an array that claims more than its entry holds: NumPy allocates before it reads."""
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"{entry.filename} has NumPy's format {version}")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        size = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or min(shape, default=0) < 0 or file.tell() + size != entry.file_size:
            raise ValueError(f"{entry.filename} claims {dtype} {shape}, which it does not hold")

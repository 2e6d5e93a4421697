"""Metadata of an exported model: a JSON file next to the model, read without TensorFlow."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sized
from pathlib import Path
from typing import Any, Literal

import msgspec

ExportFormat = Literal["saved_model", "litert", "onnx"]
METADATA_FILE = Path("assets.extra") / "tf_trpo.json"
"""Path in a version's folder. In assets.extra, TensorFlow Serving reads warm-up requests only."""
STATE = "state"
"""Name of the policy's state in an exported model; with several parts, the prefix of their names."""
INITIAL_STATE = "initial_state"
"""Name of the endpoint that gives initial states."""
EPISODES = "episodes"
"""Name of the input of this endpoint."""
_LARGEST_BYTES = 16 * 2**20
_FORMAT = 1


class MetadataError(ValueError):
    """A version's folder holds no metadata, or its files do not match the metadata."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelMetadata:
    """Metadata of a model; an unknown field is None.

    Attributes:
      environment: Gymnasium id.
      training_steps: environment steps of the training.
      evaluation: mean_return, std_return, mean_length and episodes, by the most likely actions.
      observation_space: the environment's observation space, by Gymnasium's names: type, and n, nvec, start, shape and
        dtype if it has them; for a Dict or Tuple, type and spaces. A kind says how the policy reads numbers: vector,
        image, binary or mask.
      action_space: the action space in the same form; a Box also has low and high (None for no bound).
      observation_statistics: for each normalised vector, the mean, variance and count of the observations, and the
        min_std and clip of the normalisation clip((x - mean) / max(sqrt(variance), min_std)), which is 0 for constant
        features. In models of earlier versions, this is one dict and not a list.
      versions: package -> version, in the process that wrote the model.
      environment_arguments: env_kwargs, wrappers and action_masks of `make_vector_environment`.
      initial_state: for a model with a memory, the initial state of one episode, by the names of the inputs.
    """

    environment: str | None
    training_steps: int | None
    evaluation: dict[str, float] | None
    observation_space: dict[str, Any]
    action_space: dict[str, Any] | None
    observation_statistics: list[dict[str, Any]] | dict[str, Any]
    versions: dict[str, str | None]
    environment_arguments: dict[str, Any] | None = None
    initial_state: dict[str, Any] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _MetadataFile(ModelMetadata):
    """The content of the metadata file: the metadata, and the SHA-256 of every other file by its path."""

    format: int
    files: dict[str, str]


def is_state(name: str) -> bool:
    """Return whether an input of an endpoint is a part of the policy's state."""
    return name == STATE or name.startswith(f"{STATE}_")


def check_episodes(state: Mapping[str, Sized], count: int, error: type[Exception]) -> None:
    """Raise `error` if the parts of a memory's state, [N, ...], are not of `count` episodes.

    Without parts, nothing is raised.
    """
    others = {len(part) for part in state.values()} - {count}
    if others:
        found = f"the memory holds {others.pop()} episodes, and there are {count} observations"
        raise error(f"{found}: call begin() for new episodes")


def write_metadata(folder: Path, metadata: ModelMetadata) -> None:
    """Write a version's metadata with the checksums of all its files, which must exist already."""
    path = folder / METADATA_FILE
    path.parent.mkdir(exist_ok=True)
    content = {"format": _FORMAT, **dataclasses.asdict(metadata), "files": _sums(folder)}
    # JSON has no infinity or NaN.
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_metadata(folder: Path) -> ModelMetadata:
    """Read the metadata of a version, and verify the checksums of its files.

    The checksums detect an incomplete or damaged copy. They are not a signature: whoever can replace the model can
    replace its checksums as well.

    Raises:
      MetadataError: there are no metadata, they cannot be read, or a file is missing, changed or added.
    """
    path = folder / METADATA_FILE
    try:
        with path.open("rb") as file:
            content = msgspec.json.decode(file.read(_LARGEST_BYTES), type=_MetadataFile)
    except FileNotFoundError:
        raise MetadataError(
            f"{folder} has no {METADATA_FILE}, so tf_trpo did not write it; a SavedModel is a program: only --trust "
            "(trust=True) loads it without that file"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise MetadataError(f"{path} cannot be read: {error}") from None
    if content.format != _FORMAT:
        raise MetadataError(f"{path} has another format than this version of tf_trpo knows")
    found, sums = _sums(folder), content.files
    if found != sums:
        differing = sorted(name for name in {*found, *sums} if found.get(name) != sums.get(name))
        raise MetadataError(f"{folder} is not whole: {', '.join(differing)} is missing, changed or new")
    return content


def _sums(folder: Path) -> dict[str, str]:
    """Compute the SHA-256 of every file but the metadata."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path != folder / METADATA_FILE]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

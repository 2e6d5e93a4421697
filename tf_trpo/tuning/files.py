"""Read and write the files of a search: settings, search space, the best settings as a preset, the result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tf_trpo.experiment import Experiment
from tf_trpo.files import read_small, write_whole
from tf_trpo.tuning.space import OF_RUNS, Choice, Range, SearchSpace, plain_space, read_space
from tf_trpo.tuning.tuning import Tuning


def settings_file(folder: Path) -> Path:
    """Return the path of the file with a search's settings."""
    return folder / "tuning.json"


def space_file(folder: Path) -> Path:
    """Return the path of the file with the search space."""
    return folder / "space.yaml"


def read_tuning(folder: Path) -> Tuning:
    """Read the settings of a search.

    Raises:
      ValueError: the folder has no search.
    """
    return Tuning.from_json(read_settings(folder))


def read_settings(folder: Path) -> dict[str, Any]:
    """Read the settings of a search as JSON values.

    Raises:
      ValueError: the folder has no search.
    """
    path = settings_file(folder)
    try:
        settings = json.loads(read_small(path))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as that of a search: {error}") from None
    if not isinstance(settings, dict) or not isinstance(settings.get("experiment"), dict):
        raise ValueError(f"{path} cannot be read as that of a search: it holds no settings of an experiment")
    return settings


def read_space_of(folder: Path) -> dict[str, Range | Choice]:
    """Read the search space of a folder; raise ValueError as `read_space`."""
    return read_space(space_file(folder))


def write_settings(folder: Path, tuning: Tuning, space: SearchSpace) -> None:
    """Write the settings of a search, and its search space."""
    # This file is written first, since it marks the folder as that of a search.
    write_whole(settings_file(folder), json.dumps(tuning.to_json(), indent=2) + "\n")
    words = "# The search space. --space accepts a copy of this file with other values.\n"
    write_whole(
        space_file(folder), words + yaml.safe_dump(plain_space(space), sort_keys=False, default_flow_style=None)
    )


def preset_text(experiment: Experiment, words: str) -> str:
    """Return an experiment as a preset, with all settings that differ from the defaults except those of a single run.

    Args:
      experiment: the settings.
      words: a comment for the beginning of the file; control characters, which YAML does not allow, become spaces.
    """
    chosen = {name: value for name, value in experiment.changes().items() if name not in OF_RUNS}
    first = {"env": experiment.env, "total_steps": experiment.run.total_steps}
    plain = json.loads(json.dumps({**first, **chosen}))
    lines = ("".join(letter if letter.isprintable() else " " for letter in line) for line in words.splitlines())
    return "".join(f"# {line}\n" for line in lines) + yaml.safe_dump(plain, sort_keys=False, default_flow_style=None)


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Write the result of a search as JSON."""
    write_whole(folder / "result.json", json.dumps(result, indent=2) + "\n")

"""Runs that differ in their seed only are one group; what distinguishes groups is their label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tf_trpo.cli.errors import UsageError
from tf_trpo.cli.hyperparameters import hyperparameters
from tf_trpo.cli.run_folder import RunFolder

_NOT_COMPARED = ("seed", "total_steps")
"""What repetitions differ in: a longer run has the same beginning."""
_SPEAK_FOR_THEMSELVES = ("env", "algorithm")


class RunGroup(NamedTuple):
    """Runs that are repetitions of each other.

    Attributes:
      label: the settings in which the groups differ; of a single group, its environment and algorithm.
      runs: at least one.
    """

    label: str
    runs: list[RunFolder]


def group_runs(run_dirs: Sequence[Path], group_by: Sequence[str] = ()) -> list[RunGroup]:
    """The runs in groups, in the order of their first runs.

    Args:
      run_dirs: folders of runs, at least one.
      group_by: settings that the runs of a group have in common; by default all that a result depends on.

    Raises:
      UsageError: a folder is none of a run or is named twice, or there is no such setting.
    """
    compared: dict[Path, dict[str, Any]] = {}
    for path in run_dirs:
        if path.resolve() in compared:
            raise UsageError(f"{path} is named twice")
        compared[path.resolve()] = _compared(RunFolder(path), group_by)
    runs = [RunFolder(path) for path in run_dirs]
    groups: list[tuple[dict[str, Any], list[RunFolder]]] = []
    for run, settings in zip(runs, compared.values(), strict=True):
        there = next((of_group for others, of_group in groups if others == settings), None)
        if there is None:
            groups.append((settings, [run]))
        else:
            there.append(run)
    every = [settings for settings, _ in groups]
    return [RunGroup(_label(settings, every), of_group) for settings, of_group in groups]


def _compared(run: RunFolder, group_by: Sequence[str]) -> dict[str, Any]:
    settings = run.read_settings()
    unknown = [name for name in group_by if name not in settings]
    if unknown:
        raise UsageError(f"{run.config} has no setting {', '.join(unknown)}")
    if group_by:
        return {name: settings[name] for name in group_by}
    return {name: value for name, value in hyperparameters(settings).items() if name not in _NOT_COMPARED}


def _label(settings: dict[str, Any], every: Sequence[dict[str, Any]]) -> str:
    names = [name for name in settings if any(other.get(name) != settings[name] for other in every)]
    if not names:
        names = [name for name in _SPEAK_FOR_THEMSELVES if name in settings] or list(settings)
    return ", ".join(_part(name, settings[name]) for name in names if settings[name] is not None) or "others"


def _part(name: str, value: Any) -> str:
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if name in _SPEAK_FOR_THEMSELVES else f"{name} {text}"

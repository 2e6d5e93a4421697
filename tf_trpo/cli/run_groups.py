"""Groups of runs that differ in their seed only; a group's label says how it differs from the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tf_trpo.experiment import RunFolder
from tf_trpo.experiment.settings import hyperparameters

_NOT_COMPARED = ("seed", "total_steps")
"""Settings in which repetitions may differ; a longer run has the same beginning."""
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
    """Put runs in groups, in the order of their first runs.

    Args:
      run_dirs: folders of runs, at least one.
      group_by: settings that the runs of a group have in common; by default all that a result depends on.

    Raises:
      ValueError: a folder holds no run or is named twice, or there is no such setting.
    """
    seen: set[Path] = set()
    groups: list[tuple[dict[str, Any], list[RunFolder]]] = []
    for path in run_dirs:
        if path.resolve() in seen:
            raise ValueError(f"{path} is named twice")
        seen.add(path.resolve())
        settings = _compared(RunFolder(path), group_by)
        runs = next((of_group for others, of_group in groups if others == settings), None)
        if runs is None:
            groups.append((settings, runs := []))
        runs.append(RunFolder(path))
    labels = _labels([settings for settings, _ in groups])
    return [RunGroup(label, of_group) for label, (_, of_group) in zip(labels, groups, strict=True)]


def _compared(run: RunFolder, group_by: Sequence[str]) -> dict[str, Any]:
    settings = run.read_config()["settings"]
    unknown = [name for name in group_by if name not in settings]
    if unknown:
        raise ValueError(f"{run.config} has no setting {', '.join(unknown)}")
    if group_by:
        return {name: settings[name] for name in group_by}
    return {name: value for name, value in hyperparameters(settings).items() if name not in _NOT_COMPARED}


def _labels(groups: Sequence[dict[str, Any]]) -> list[str]:
    """Name the settings in which groups differ; settings that only some algorithms have, only if they are needed."""
    names = list(dict.fromkeys(name for settings in groups for name in settings))
    if len(groups) == 1:
        differing = [name for name in _SPEAK_FOR_THEMSELVES if name in names] or names
        return [_label(groups[0], differing)]
    differing = [name for name in names if any(other.get(name) != groups[0].get(name) for other in groups)]
    shared = [name for name in differing if _differs_where_it_is(name, groups)]
    labels = [_label(settings, shared) for settings in groups]
    return labels if len(set(labels)) == len(groups) else [_label(settings, differing) for settings in groups]


def _differs_where_it_is(name: str, groups: Sequence[dict[str, Any]]) -> bool:
    values = [settings[name] for settings in groups if settings.get(name) is not None]
    return any(value != values[0] for value in values)


def _label(settings: dict[str, Any], names: Sequence[str]) -> str:
    return ", ".join(_part(name, settings[name]) for name in names if settings.get(name) is not None) or "others"


def _part(name: str, value: Any) -> str:
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if name in _SPEAK_FOR_THEMSELVES else f"{name} {text}"

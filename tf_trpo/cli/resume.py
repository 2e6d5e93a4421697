"""`train --resume RUN_DIR`: the settings of a run that is there, and where it stands."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from tf_trpo.cli.errors import UsageError
from tf_trpo.cli.parsing import split_option
from tf_trpo.cli.preset_files import as_options
from tf_trpo.cli.presets import parse_file, parse_options, split_preset
from tf_trpo.cli.run_folder import RunFolder
from tf_trpo.cli.settings import TrainSettings

CHANGEABLE = ("total_steps", "export")
"""Settings that a resumed run may have others of: they change nothing of what was done."""
_SHOWN = ("quiet",)
"""Settings of what the process prints, which are no part of the run."""


def split_resume(argv: Sequence[str]) -> tuple[Path | None, list[str]]:
    """The folder after --resume, if there is one, and the other arguments."""
    folders, options = split_option(argv, "--resume", "the folder of a run")
    if len(folders) > 1:
        raise UsageError("--resume goes on with one run")
    return (Path(folders[0]) if folders else None), options


def resumed_settings(run_dir: Path, options: Sequence[str], prog: str) -> TrainSettings:
    """The settings of a run, with what the options change of them.

    Raises:
      UsageError: there is no run, it is complete, it has links, or a preset or an option would
        change what was done.
    """
    presets, options = split_preset(options)
    if presets:
        raise UsageError("a resumed run keeps its settings: --preset cannot stand beside --resume")
    folder = RunFolder(run_dir)
    folder.check_no_links()
    saved = {**folder.read_settings(), "run_dir": str(run_dir)}
    unknown = sorted(saved.keys() ^ TrainSettings().flat().keys())
    if unknown:
        raise UsageError(f"{folder.config} is of another version: it differs in {', '.join(unknown)}")
    where = str(folder.config)
    as_saved = as_options({name: value for name, value in saved.items() if value is not None}, where)
    before, settings = parse_file(as_saved, prog, where), parse_options([*as_saved, *options], prog)
    old, new = before.flat(), settings.flat()
    changed = sorted(name for name in new if new[name] != old[name] and name not in _SHOWN)
    refused = [name for name in changed if name not in CHANGEABLE]
    if refused:
        raise UsageError(f"a resumed run keeps its {', '.join(refused)}; only {' and '.join(CHANGEABLE)} can change")
    if folder.is_complete() and not changed:
        raise UsageError(f"{run_dir} is complete; a larger --total-steps goes on with it")
    _check_history(folder.history)
    return settings


def _check_history(path: Path) -> None:
    """Refuse a history whose rows cannot be told apart by their iteration, before anything is written after them."""
    if not path.exists():
        return
    try:
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                # A process that was killed may have left half a row.
                if None not in row.values():
                    float(row["time/iterations"])
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UsageError(f"{path} is not as train wrote it ({reason}): mend it, or move it away") from None

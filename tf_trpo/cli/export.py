"""`export`: write a SavedModel for serving."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import tyro

from tf_trpo.cli.errors import UsageError, one_line_errors
from tf_trpo.cli.parsing import parse
from tf_trpo.cli.run_folder import RunFolder
from tf_trpo.cli.startup import start_tensorflow


@dataclasses.dataclass(frozen=True)
class ExportSettings:
    """Write a trained agent as a SavedModel in TensorFlow Serving's layout, OUTPUT/VERSION."""

    run_dir: tyro.conf.Positional[Path]
    """Folder of a run, as train writes it."""
    output: Path
    """Folder of the model, such as saved_models/Hopper-v5; each export adds the next version."""


def main(argv: Sequence[str]) -> None:
    """Parse options, export, print the folder."""
    with one_line_errors():
        settings: ExportSettings = parse(ExportSettings, argv, "export")
        folder = RunFolder(settings.run_dir)
        folder.settings()
        start_tensorflow()
        agent = folder.load_agent()
        try:
            print(agent.export(settings.output))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"{settings.output} cannot be written: {reason}") from None

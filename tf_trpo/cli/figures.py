"""`figures`: draw the figures of the lecture."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from tf_trpo.cli.errors import UsageError, one_line_errors
from tf_trpo.cli.parsing import parse
from tf_trpo.cli.startup import start_tensorflow
from tf_trpo.figures import FIGURES, draw_figures


@dataclasses.dataclass(frozen=True)
class FiguresSettings:
    """Draw the figures of the lecture, each as PNG and SVG: the theory computed on the spot, the rest from results."""

    output_dir: Path = Path("docs/figures")
    """Folder of the figures; made when it is missing."""
    results_dir: Path = Path("docs/results")
    """Folder of the learned results, as `benchmark learn` writes them."""
    only: tuple[int, ...] = ()
    """Numbers of the figures to draw; all of them by default."""


def main(argv: Sequence[str]) -> None:
    """Parse options, draw, print the files."""
    listing = "\n\n".join(f"{number}: {entry.summary}" for number, entry in FIGURES.items())
    description = f"{FiguresSettings.__doc__}\n\n{listing}"
    with one_line_errors():
        settings: FiguresSettings = parse(FiguresSettings, argv, "figures", description=description)
        for path in _draw(settings):
            print(path)


def _draw(settings: FiguresSettings) -> list[Path]:
    numbers = settings.only or tuple(FIGURES)
    for number in numbers:
        if number not in FIGURES:
            raise UsageError(f"no figure {number}; there are {', '.join(map(str, FIGURES))}")
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("drawing needs matplotlib: pip install 'tf_trpo[figures]'")
    if any(FIGURES[number].needs_tensorflow for number in numbers):
        start_tensorflow()
    try:
        settings.output_dir.mkdir(parents=True, exist_ok=True)
        return draw_figures(numbers, settings.output_dir, settings.results_dir)
    except OSError as error:
        if error.filename is not None and Path(error.filename).is_relative_to(settings.results_dir):
            hint = "name the folder by --results-dir, or write it by benchmark learn"
            raise UsageError(f"{error.filename} cannot be read: {error.strerror}; {hint}") from None
        raise UsageError(f"{settings.output_dir} cannot be written: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(str(error)) from None

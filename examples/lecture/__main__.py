"""The command line: `python -m examples.lecture --only 1 5`."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path

try:
    import tyro
except ImportError:
    from tf_trpo.extras import not_installed

    raise SystemExit(str(not_installed("tyro"))) from None

from examples.lecture.figures import FIGURES
from tf_trpo.figures.style import styled, write


@dataclasses.dataclass(frozen=True)
class Figures:
    """Draw the figures of the lecture as PNG and SVG, and print the paths of the files."""

    only: tuple[int, ...] = tuple(FIGURES)
    """Numbers of the figures to draw."""
    output_dir: Path = Path("docs/figures")
    """Folder of the figures; made if it is missing."""


def main(options: Figures) -> list[Path]:
    """Compute and draw the figures; return the paths of the files."""
    options.output_dir.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in options.only:
        name = FIGURES[number]
        module = importlib.import_module(f"examples.lecture.figures.{name}")
        data = module.compute()
        with styled():
            figure = module.draw(data)
            for suffix in ("png", "svg"):
                paths.append(options.output_dir / f"{number}_{name}.{suffix}")
                write(figure, paths[-1])
    return paths


if __name__ == "__main__":
    for path in main(tyro.cli(Figures, prog="python -m examples.lecture")):
        print(path)

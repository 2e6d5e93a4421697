"""The command line: `python -m benchmarks COMMAND [OPTIONS]`; each command has --help."""

from __future__ import annotations

import importlib
import sys
from typing import Any

try:
    import tyro
except ImportError:
    from tf_trpo.extras import not_installed

    raise SystemExit(str(not_installed("tyro"))) from None

COMMANDS = {
    "start": ("start", "Start"),
    "update": ("speed", "Update"),
    "images": ("speed", "Images"),
    "collect": ("speed", "Collect"),
    "train": ("speed", "Train"),
    "time-to-result": ("time_to_result", "TimeToResult"),
    "memory": ("memory", "Memory"),
    "directions": ("directions", "Directions"),
    "vine": ("vine", "Vine"),
    "scaling": ("scaling", "Scaling"),
    "workers": ("workers", "Workers"),
    "update-workers": ("update_workers", "UpdateWorkers"),
    "roofline": ("roofline", "Roofline"),
    "serve": ("serving", "Serve"),
    "learn": ("learn", "Learn"),
    "cloning": ("cloning", "Cloning"),
    "peers": ("peers", "Peers"),
    "ranges": ("compare", "Ranges"),
    "compare": ("compare", "Compare"),
    "results": ("documents", "Results"),
    "plot": ("suite_panels", "Plot"),
    "learning-curves": ("learning_curves", "LearningCurves"),
    "export": ("export", "Export"),
    "film": ("film", "Film"),
    "cards": ("cards", "Cards"),
}
"""Command -> its module and class. The fields of the class are the options, and `run()` runs the command."""


def parse(arguments: list[str]) -> Any:
    """Make the command that the arguments describe; only its module is imported, since TensorFlow takes seconds.

    Raises:
      SystemExit: the command does not exist, an option is wrong, or --help was asked for.
    """
    if not arguments or arguments[0] not in COMMANDS:
        raise SystemExit(f"usage: python -m benchmarks COMMAND [OPTIONS]\ncommands: {', '.join(COMMANDS)}")
    name, *options = arguments
    module, command = COMMANDS[name]
    form = getattr(importlib.import_module(f"benchmarks.{module}"), command)
    return tyro.cli(form, args=options, prog=f"python -m benchmarks {name}")


# Processes that `learn` starts import this module again.
if __name__ == "__main__":
    parse(sys.argv[1:]).run()

"""The command line: one file for each command."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from tf_trpo.cli.errors import one_line_errors

COMMANDS = {
    "check-env": "say what will go wrong in an environment",
    "train": "train an agent and write a run folder",
    "evaluate": "run whole episodes with a trained agent",
    "export": "write a model for serving",
    "serve": "answer REST requests for an exported model",
    "play": "drive an environment by an exported model",
    "plot": "draw learning curves of runs, or report on one",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command named by the first argument: `tf_trpo train --help`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: tf_trpo COMMAND [OPTIONS]\n\ncommands (each has --help):")
        for name, summary in COMMANDS.items():
            print(f"  {name:<10}{summary}")
        raise SystemExit(0 if arguments else 2)
    command, *rest = arguments
    run_command(command, rest)


def run_command(command: str, argv: Sequence[str] | None = None) -> None:
    """Run one command with the given arguments, or the process's own."""
    # Around the import too: it takes seconds, in which Ctrl-C may come.
    with one_line_errors():
        if command not in COMMANDS:
            raise ValueError(f"no command {command!r}; there are {', '.join(COMMANDS)}")
        importlib.import_module(f"tf_trpo.cli.{command.replace('-', '_')}").main(sys.argv[1:] if argv is None else argv)

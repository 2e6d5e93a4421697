"""The command line interface, with one file per command."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import tf_trpo
from tf_trpo.cli.errors import check_written, one_line_errors, unread_output_dropped
from tf_trpo.suggestions import nearest_hint

COMMANDS = {
    "train": "train an agent and write a run folder",
    "check-env": "report problems of an environment before training",
    "tune": "search for better settings, and check them on fresh seeds",
    "evaluate": "run whole episodes with a trained agent",
    "export": "write a model for serving",
    "serve": "answer REST requests for an exported model",
    "play": "run episodes with an exported model",
    "plot": "draw learning curves of runs, or report on one",
}


FIRST_STEPS = """\
first steps:
  python -m tf_trpo train                        train on CartPole-v1, about a minute
  python -m tf_trpo train --env Pendulum-v1      another environment, with its published settings
  python -m tf_trpo train --resume runs/NAME     continue a run that was stopped
  python -m tf_trpo tune --env Pendulum-v1       search for better settings
  python -m tf_trpo check-env my_module:MyEnv    report the problems of your own environment
  tensorboard --logdir runs                      look at the runs

in Python:
  import tf_trpo
  agent = tf_trpo.TRPO.for_env("CartPole-v1")
  agent.fit("CartPole-v1", total_steps=50_000)

README.md and docs/ say more."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command named by the first argument: `tf_trpo train --help`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["--version"]:
        print(f"tf_trpo {tf_trpo.__version__}")
        raise SystemExit(0)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"{tf_trpo.__doc__.splitlines()[0]}\n\nusage: tf_trpo COMMAND [OPTIONS]\n\ncommands (each has --help):")
        for name, summary in COMMANDS.items():
            print(f"  {name:<11}{summary}")
        print(f"\n{FIRST_STEPS}")
        raise SystemExit(0 if arguments else 2)
    command, *rest = arguments
    run_command(command, rest)


def run_command(command: str, argv: Sequence[str] | None = None) -> None:
    """Run one command with the given arguments, or the process's own.

    The command can import modules of the working folder, however the process was started.
    """
    # The import takes seconds, in which the user may press Ctrl-C.
    with unread_output_dropped(), one_line_errors():
        _add_working_folder()
        if command not in COMMANDS:
            raise ValueError(
                f"no command {command!r}{nearest_hint(command, COMMANDS)}; there are {', '.join(COMMANDS)}"
            )
        importlib.import_module(f"tf_trpo.cli.{command.replace('-', '_')}").main(sys.argv[1:] if argv is None else argv)
        check_written()


def _add_working_folder() -> None:
    """Put the working folder on `sys.path`, as `python -m` does; otherwise my_env:Room is found by `python -m` only.

    The folder comes last, so that no file in it can take the place of an installed module.
    """
    here = os.getcwd()
    # An empty entry is the working folder too, and safe_path is Python's own option to leave it out.
    if not sys.flags.safe_path and not {"", here} & {*sys.path}:
        sys.path.append(here)

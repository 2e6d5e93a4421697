"""The one way from arguments to typed settings, for every command."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Sequence
from typing import Any

import tyro

from tf_trpo.cli.errors import UsageError

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_RULE = re.compile(r"[│ ]*(─{10,}|-{10,})[│ ]*")


def parse(form: Any, argv: Sequence[str], prog: str, **kwargs: Any) -> Any:
    """Settings of a dataclass, or of a union of them, from arguments.

    Args:
      form: what tyro makes a parser of.
      argv: arguments after the command.
      prog: name of the command, for messages.
      **kwargs: for `tyro.cli`.

    Raises:
      UsageError: the arguments cannot be parsed; tyro says so in a box of several lines.
      SystemExit: after --help, with status 0.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(form, args=list(argv), prog=prog, **kwargs)
    except SystemExit as stop:
        if not stop.code:
            raise
        reason = _in_words(said.getvalue())
    except (AssertionError, OSError, ValueError) as error:
        # Of tyro's own options, which write completions for a shell.
        reason = str(error)
    raise UsageError(f"{reason}; see {prog} --help")


def split_flag(argv: Sequence[str], name: str) -> tuple[bool, list[str]]:
    """Whether an option without a value is among the arguments, and the other arguments."""
    others = [argument for argument in argv if argument != name]
    return len(others) < len(argv), others


def split_option(argv: Sequence[str], name: str, value: str) -> tuple[list[str], list[str]]:
    """The values of an option that may be given several times, and the other arguments.

    Raises:
      UsageError: it stands without one; `value` says what is needed.
    """
    values, others = [], []
    remaining = iter(argv)
    for argument in remaining:
        option, equals, given = argument.partition("=")
        if option != name:
            others.append(argument)
            continue
        given = given if equals else next(remaining, "")
        if not given:
            raise UsageError(f"{name} needs {value}")
        values.append(given)
    return values, others


def _in_words(box: str) -> str:
    """What a box of tyro says: its first part, and the names that it thinks were meant."""
    parts: list[list[str]] = [[]]
    lines = _COLOUR.sub("", box).splitlines()
    if not any(line.startswith("╭") for line in lines):
        # Where standard output is no UTF-8, the title has a rule below instead of a frame around.
        lines = lines[2:] if len(lines) > 2 else lines
    for line in lines:
        if line.startswith(("╭", "╰")):
            continue
        if _RULE.fullmatch(line):
            parts.append([])
        else:
            parts[-1].append(line.strip("│").strip())
    first = " ".join(" ".join(parts[0]).split()).removeprefix("Error parsing ").removesuffix(".")
    meant = [
        re.split(r"[ ,=]", line)[0]
        for part in parts[1:]
        if part and re.match(r"(Arguments similar|Perhaps you meant|Similar)", part[0])
        for line in part[1:]
        if line.startswith("--")
    ]
    others = [" ".join(part) for part in parts[1:] if part and part[0].startswith("Available subcommands")]
    hints = [f"there is {' and '.join(dict.fromkeys(meant))}"] if meant else []
    return "; ".join([first, *others, *hints])

"""Parse the options of commands, which are the fields of dataclasses.

argparse splits the command line, because its `error` can be overridden to give one-line errors. Values are converted
and checked by the same code as those of files. tyro draws --help from the same classes.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import itertools
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, NoReturn, TypeVar, get_args, get_origin, get_type_hints

import tyro

from tf_trpo.experiment.conversion import convert, fields, leaves
from tf_trpo.ranges import nearest

T = TypeVar("T")
HELP = {"-h", "--help"}
"""Arguments that ask for help."""
HELP_ALL = "--help-all"
"""Argument that asks for help with every setting, in commands with many settings."""


class OptionParser(argparse.ArgumentParser):
    """Reads options as text.

    Args:
      command: name of the command, for messages.
      *options: dataclasses; their settings, and those of nested classes, are the options.
    """

    def __init__(self, command: str, *options: type) -> None:
        super().__init__(command, add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
        self._names = [name for each in options for name in leaves(each)]
        for each in options:
            marked = get_type_hints(each, include_extras=True)
            required = {field.name for field in dataclasses.fields(each) if field.default is dataclasses.MISSING}
            for name, hint in leaves(each).items():
                self._add(name, hint, getattr(marked.get(name), "__metadata__", ()), name in required)

    def read(self, argv: Sequence[str]) -> dict[str, Any]:
        """Return the given options by name: text, or True or False for an option without a value.

        Raises:
          ValueError: an option or an argument is unknown or missing, or lacks its value.
        """
        arguments = [_hyphened(argument) for argument in argv]
        found, unknown = self.parse_known_args(arguments)
        if unknown:
            near = nearest(unknown[0].partition("=")[0], map(option_name, self._names))
            hint = "" if near is None else f"; there is {near}"
            self.error(f"unrecognized options: {' '.join(unknown)}{hint}")
        return vars(found)

    def error(self, message: str) -> NoReturn:
        """Raise ValueError, instead of printing the usage and ending the process as argparse does."""
        raise ValueError(f"{message}; see {self.prog} --help")

    def _add(self, name: str, hint: Any, marks: tuple[Any, ...], required: bool) -> None:
        several = get_origin(hint) is tuple
        if tyro.conf.Positional in marks:
            self.add_argument(name, nargs="*" if several else None if required else "?")
        elif hint is bool:
            self.add_argument(option_name(name), action=argparse.BooleanOptionalAction)
        elif bool in get_args(hint):
            self.add_argument(option_name(name), nargs="?", const=True)
            self.add_argument(option_name(f"no_{name}"), dest=name, action="store_false")
        elif tyro.conf.UseAppendAction in marks:
            self.add_argument(option_name(name), action="append")
        else:
            self.add_argument(option_name(name), nargs="*" if several else None, required=required)


def parse(options: type[T], argv: Sequence[str], command: str) -> T:
    """Parse the options of a command.

    Args:
      options: a dataclass; its fields are the options.
      argv: the arguments after the command.
      command: name of the command, for messages.

    Raises:
      ValueError: an option is unknown, missing, has another type or is out of its range; the message names it.
      SystemExit: after --help, with status 0.
    """
    if HELP & set(argv):
        show_help(options, command)
    return make(options, OptionParser(command, options).read(argv))


def make(options: type[T], given: Mapping[str, Any]) -> T:
    """Make an instance of an options class; values are converted, and names of other options are ignored."""
    hints = {field.name: hint for field, hint in fields(options)}
    return options(**{name: convert(given[name], hint, name) for name, hint in hints.items() if name in given})


def selected(settings: type, values: Mapping[str, Any], name: str) -> type:
    """Make an options class with some of the settings of a settings class and its nested classes.

    Args:
      settings: the settings class.
      values: defaults of the options, by the names of the settings, in the order of the help.
      name: name of the new class.
    """
    hints, words = leaves(settings), descriptions(settings)
    options = [
        (option, Annotated[hints[option], tyro.conf.arg(help=words[option])], dataclasses.field(default=value))
        for option, value in values.items()
    ]
    return dataclasses.make_dataclass(name, options, frozen=True)


def together(**options: Any) -> type:
    """Combine options classes, which need no arguments, into one; each is a group of the help under its name."""
    made = [(name, each, dataclasses.field(default=each())) for name, each in options.items()]
    return dataclasses.make_dataclass("Options", made, frozen=True)


def descriptions(settings: Any) -> dict[str, str]:
    """Return the docstrings of the fields of a settings class and its nested classes, by the names of the fields."""
    found: dict[str, str] = {}
    for _, hint in fields(settings):
        for each in filter(dataclasses.is_dataclass, (hint, *get_args(hint))):
            found = descriptions(each) | found
    for each in reversed(settings.__mro__[:-1]):
        [definition] = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        assert isinstance(definition, ast.ClassDef)
        found |= {ast.unparse(field.target): text for field, text in documented_fields(definition)}
    return found


def documented_fields(definition: ast.ClassDef) -> Iterator[tuple[ast.AnnAssign, str]]:
    """Yield the fields of a class that have a docstring below them, with the docstrings, from the class's source."""
    for field, text in itertools.pairwise(definition.body):
        is_text = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        if is_text and isinstance(field, ast.AnnAssign):
            yield field, inspect.cleandoc(ast.literal_eval(ast.unparse(text)))


def show_help(options: Any, command: str, **settings: Any) -> NoReturn:
    """Print the help of a command, and exit with status 0."""
    config = (tyro.conf.OmitArgPrefixes, tyro.conf.AvoidSubcommands)
    with _registry():
        tyro.cli(options, args=["--help"], prog=command, config=config, **settings)
    raise AssertionError("tyro ends the process")


def _registry() -> tyro.constructors.ConstructorRegistry:
    """Make a tyro registry that shows a mapping as one value, a JSON object."""
    registry = tyro.constructors.ConstructorRegistry()
    shown = tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="JSON",
        instance_from_str=lambda args: json.loads(args[0]),
        is_instance=lambda _: True,
        str_from_instance=lambda value: ["None" if value is None else json.dumps(value)],
    )
    registry.primitive_rule(lambda info: shown if info.type == dict[str, Any] | None else None)
    return registry


def option_name(name: str) -> str:
    """Return the option of a field: --max-kl for max_kl."""
    return f"--{name.replace('_', '-')}"


def _hyphened(argument: str) -> str:
    """Replace underscores in an option's name by hyphens: --max_kl means --max-kl."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    return f"{name.replace('_', '-')}{equals}{value}"

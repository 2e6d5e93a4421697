"""Parse the options of commands, which are the fields of dataclasses, and show the help of commands.

argparse splits the command line and draws the help, because its `error` can be overridden to give one-line errors.
Values are converted and checked by the same code as those of files.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import functools
import inspect
import itertools
import re
import shutil
import textwrap
import types
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NoReturn, TypeVar, get_args, get_origin, get_type_hints

from tf_trpo.experiment.conversion import CHOICES, convert, fields, leaves
from tf_trpo.experiment.options import option_name
from tf_trpo.suggestions import nearest

T = TypeVar("T")
_POSITIONAL, _REPEATED = "positional", "repeated"
Positional = Annotated[T, _POSITIONAL]
"""The type of a field that is an argument without an option's name."""
Repeated = Annotated[T, _REPEATED]
"""The type of a field, a tuple, whose option may be given several times, each time with one value."""
HELP_ALL = "--help-all"
"""Argument that asks for help with every setting; in commands with few settings, the same as --help."""
HELP = frozenset({"-h", "--help", HELP_ALL})
"""Arguments that ask for help."""
_LONGEST, _NAME = 40, "NAME"
"""Characters of the choices of an option that the help shows in place of its value, and what it shows if there are
more."""
_METAVARS = {int: "INT", float: "FLOAT", str: "STR", Path: "PATH", types.NoneType: "None"}


class Option(NamedTuple):
    """An option as the help shows it.

    Attributes:
      hint: its type.
      default: its default value; `dataclasses.MISSING` if it is required.
      words: its description.
      marks: `Positional`'s or `Repeated`'s mark, if it has one.
    """

    hint: Any
    default: Any
    words: str
    marks: tuple[str, ...] = ()

    @property
    def is_required(self) -> bool:
        """Whether the option must be given."""
        return self.default is dataclasses.MISSING


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Breaks lines between words only; argparse would also break names such as natural-policy-gradient."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


class OptionParser(argparse.ArgumentParser):
    """Reads options as text.

    Args:
      command: name of the command, for messages.
      *options: dataclasses; their settings, and those of nested classes, are the options.
    """

    def __init__(self, command: str, *options: type) -> None:
        super().__init__(command, add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
        self._required: dict[str, str] = {}
        # argparse takes -1e-3 for an option.
        self._negative_number_matcher = re.compile(r"-(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$", re.IGNORECASE)
        for each in options:
            own = options_of(each)
            for name, hint in leaves(each).items():
                self.add(self, name, own.get(name, Option(hint, None, "")))

    def read(
        self, argv: Sequence[str], suggested: Callable[[Mapping[str, Any]], Collection[str]] | None = None
    ) -> dict[str, Any]:
        """Return the given options by name: text, or True or False for an option without a value.

        Args:
          argv: the arguments after the command.
          suggested: computes from the given options the names of those to suggest for a mistyped one; by default all.

        Raises:
          ValueError: an option or an argument is unknown or missing, or lacks its value.
        """
        arguments = [_hyphened(argument) for argument in argv]
        found, unknown = self.parse_known_args(arguments)
        if unknown:
            # Only this finds arguments on both sides of an option. It cannot read all that may follow a lone "--".
            found, unknown = self.parse_known_intermixed_args(arguments)
        if unknown:
            names = None if suggested is None else suggested(vars(found))
            self.error(f"unrecognized options: {' '.join(unknown)}{self._suggestion(unknown, names)}")
        self._require(vars(found), arguments)
        return vars(found)

    def error(self, message: str) -> NoReturn:
        """Raise ValueError, instead of printing the usage and ending the process as argparse does."""
        raise ValueError(f"{message}; see {self.prog} --help")

    def _suggestion(self, unknown: Sequence[str], names: Collection[str] | None) -> str:
        """Return the end of a message that suggests an option for the first unknown one; empty if none is near."""
        mistyped = next((each.partition("=")[0] for each in unknown if each.startswith("-")), None)
        options = self._option_string_actions.items()
        known = [option for option, action in options if names is None or action.dest in names]
        near = nearest(mistyped, [*known, *HELP]) if mistyped else None
        return "" if near is None else f"; there is {near}"

    def _require(self, found: Mapping[str, Any], arguments: Sequence[str]) -> None:
        """Raise ValueError if a required option or argument is missing."""
        missing = [shown for name, shown in self._required.items() if name not in found]
        if missing:
            greedy = {option for option, action in self._option_string_actions.items() if action.nargs == "*"}
            given = next((each for each in arguments if each in greedy), None)
            hint = f" (name it before {given}, which takes all that follows)" if given else ""
            self.error(f"the following arguments are required: {', '.join(missing)}{hint}")

    def add(self, group: argparse._ActionsContainer, name: str, option: Option) -> None:
        """Add an option to a group of the help, or to the parser itself."""
        hint = option.hint
        several = get_origin(hint) is tuple
        shown: dict[str, Any] = {"help": _described(option)}
        if _POSITIONAL in option.marks:
            # Not required by argparse, which would report a missing argument before an unknown option.
            nargs = "*" if several else None if option.is_required else "?"
            group.add_argument(name, nargs=nargs, **shown).required = False
        elif hint is bool:
            group.add_argument(option_name(name), action=argparse.BooleanOptionalAction, **shown)
        elif bool in get_args(hint):
            group.add_argument(option_name(name), nargs="?", const=True, metavar=_metavar(hint), **shown)
            off = f"the same as {option_name(name)} False"
            group.add_argument(option_name(f"no_{name}"), dest=name, action="store_false", help=off)
        elif _REPEATED in option.marks:
            group.add_argument(option_name(name), action="append", metavar=_metavar(hint), **shown)
        else:
            shown |= {"nargs": "*" if several else None, "metavar": _metavar(hint)}
            group.add_argument(option_name(name), **shown)
        if option.is_required:
            self._required[name] = name if _POSITIONAL in option.marks else option_name(name)


def parse(options: type[T], argv: Sequence[str], command: str) -> T:
    """Parse the options of a command.

    Args:
      options: a dataclass; its fields are the options, and its docstring describes the command.
      argv: the arguments after the command.
      command: name of the command, for messages.

    Raises:
      ValueError: an option is unknown, missing, has another type or is out of its range; the message names it.
      SystemExit: after --help, with status 0.
    """
    if HELP & set(argv):
        show_help(command, inspect.getdoc(options) or "", {"options": options_of(options)})
    return make(options, OptionParser(command, options).read(argv))


def make(options: type[T], given: Mapping[str, Any]) -> T:
    """Make an instance of an options class; values are converted, and names of other options are ignored."""
    hints = {field.name: hint for field, hint in fields(options)}
    return options(**{name: convert(given[name], hint, name) for name, hint in hints.items() if name in given})


def options_of(settings: Any) -> dict[str, Option]:
    """Return the options of an options class, or of an object, whose values are then the defaults.

    Fields that hold other settings classes are left out. Of a field that holds one of several classes, the option is
    the name of the class.
    """
    is_class = isinstance(settings, type)
    kind = settings if is_class else type(settings)
    marked, words, choices = get_type_hints(kind, include_extras=True), descriptions(kind), leaves(kind)
    found = {}
    for field in dataclasses.fields(kind):
        name = field.name
        if name in choices:
            default = field.default if is_class else getattr(settings, name)
            if name in CHOICES:
                default = next(key for key, each in CHOICES[name].items() if each in (default, type(default)))
            marks = getattr(marked[name], "__metadata__", ())
            found[name] = Option(choices[name], default, words.get(name, ""), marks)
    return found


def groups_of(settings: Any, title: str) -> dict[str, dict[str, Option]]:
    """Return the options of a settings object and of the parts that it has, by the names of the parts."""
    found = {title: options_of(settings)}
    for field in dataclasses.fields(settings):
        part = getattr(settings, field.name)
        if dataclasses.is_dataclass(part):
            found |= groups_of(part, field.name)
    return found


def descriptions(settings: type) -> dict[str, str]:
    """Return the docstrings of the fields of a settings class, by the names of the fields."""
    found: dict[str, str] = {}
    for each in reversed(settings.__mro__[:-1]):
        found |= _own_descriptions(each)
    return found


@functools.cache
def _own_descriptions(settings: type) -> Mapping[str, str]:
    [definition] = ast.parse(textwrap.dedent(inspect.getsource(settings))).body
    assert isinstance(definition, ast.ClassDef)
    return {ast.unparse(field.target): text for field, text in documented_fields(definition)}


def documented_fields(definition: ast.ClassDef) -> Iterator[tuple[ast.AnnAssign, str]]:
    """Yield the fields of a class that have a docstring below them, with the docstrings, from the class's source."""
    for field, text in itertools.pairwise(definition.body):
        is_text = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        if is_text and isinstance(field, ast.AnnAssign):
            yield field, inspect.cleandoc(ast.literal_eval(ast.unparse(text)))


def show_help(
    command: str, description: str, groups: Mapping[str, Mapping[str, Option]], *, has_more: bool = False
) -> NoReturn:
    """Print the help of a command, and exit with status 0.

    Args:
      command: name of the command.
      description: paragraphs that describe the command.
      groups: the options by name, under the heading of their group.
      has_more: whether --help-all shows more than --help.
    """
    parser = OptionParser(command)
    parser.formatter_class = _Formatter
    width = max(shutil.get_terminal_size().columns - 2, 11)
    parser.description = "\n\n".join(textwrap.fill(each, width) for each in description.split("\n\n"))
    options = {name: option for group in groups.values() for name, option in group.items()}
    arguments = [name for name, option in options.items() if _POSITIONAL in option.marks]
    parser.usage = " ".join(["tf_trpo", command, "[OPTIONS]", *arguments])
    parser.add_argument("-h", "--help", action="help", help="show this help and exit")
    if has_more:
        parser.add_argument(HELP_ALL, action="help", help="show the help with every setting and exit")
    for title, group in groups.items():
        # The parser has groups of its own, for arguments and for options.
        target = parser if title == "options" else parser.add_argument_group(title)
        for name, option in group.items():
            parser.add(target, name, option)
    print(parser.format_help(), end="")
    raise SystemExit(0)


def _described(option: Option) -> str:
    """Return an option's description and default; None is shown only if the description says what it means."""
    default, words = option.default, " ".join(option.words.split())
    if get_origin(option.hint) is Literal and _metavar(option.hint) == _NAME:
        words += f" One of {', '.join(get_args(option.hint))}."
    if option.is_required:
        words += " (required)"
    elif default != () and (default is not None or "None" in words):
        shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
        words += f" (default: {shown})"
    return words.replace("%", "%%")


def _metavar(hint: Any) -> str:
    """Return what the help shows for the value of an option."""
    if get_origin(hint) is Literal:
        choices = f"{{{','.join(get_args(hint))}}}"
        return choices if len(choices) <= _LONGEST else _NAME
    if get_origin(hint) is tuple:
        return _metavar(get_args(hint)[0])
    if get_origin(hint) is dict or dict[str, Any] in get_args(hint):
        return "JSON"
    if get_args(hint):
        return "|".join(_metavar(each) for each in get_args(hint) if each is not bool)
    return _METAVARS[hint]


def _hyphened(argument: str) -> str:
    """Replace underscores in an option's name by hyphens: --max_kl means --max-kl."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    return f"{name.replace('_', '-')}{equals}{value}"

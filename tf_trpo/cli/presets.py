"""Presets: YAML files of settings, read as if their lines were options."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import tyro
import yaml

from tf_trpo.cli.algorithms import foreign_settings
from tf_trpo.cli.errors import UsageError
from tf_trpo.cli.parsing import parse
from tf_trpo.cli.settings import TrainSettings
from tf_trpo.cli.small_file import read_small

_BUNDLED = resources.files("tf_trpo") / "presets"


def bundled_presets() -> list[str]:
    """Names of the presets that come with the package."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _BUNDLED.iterdir() if entry.name.endswith(".yaml"))


def parse_settings(argv: Sequence[str], prog: str) -> TrainSettings:
    """Settings from defaults, then presets (--preset NAME or FILE), then the other options.

    A preset's entries go through the parser of the command line, so both are checked by one piece of
    code and a later value replaces an earlier one. A bundled preset is for an environment and serves
    every algorithm: what it sets for others than the one chosen is left out.

    Raises:
      UsageError: a preset that cannot be read, or with an unknown setting; an option that cannot be parsed.
      SystemExit: after --help, with status 0.
    """
    presets, options = split_option(argv, "--preset", f"a name ({', '.join(bundled_presets())}) or a YAML file")
    from_presets = {preset: preset_options(preset) for preset in presets}
    arguments = [argument for preset in presets for argument in from_presets[preset]]
    try:
        settings = _parsed([*arguments, *options], prog)
    except UsageError:
        for preset, said in from_presets.items():
            parse_file(said, prog, f"preset {preset}")
        raise
    foreign = foreign_settings(settings)
    if foreign:
        bundled = [name for name in presets if name in bundled_presets()]
        of_bundled = _parsed([argument for preset in bundled for argument in from_presets[preset]], prog).flat()
        settings = settings.with_defaults([name for name in foreign if of_bundled[name] == settings.flat()[name]])
    return settings


def parse_file(arguments: Sequence[str], prog: str, where: str) -> TrainSettings:
    """Settings from the options that a file makes.

    Raises:
      UsageError: one cannot be parsed; the message says where it stands.
    """
    try:
        return _parsed(arguments, prog)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _parsed(arguments: Sequence[str], prog: str) -> TrainSettings:
    config = (tyro.conf.OmitArgPrefixes,)
    settings: TrainSettings = parse(TrainSettings, arguments, prog, config=config, description=_description())
    return settings


def preset_options(preset: str) -> list[str]:
    """A preset's settings as command line options.

    Args:
      preset: a bundled preset's name or a path of a YAML file with `name: value` lines.
    """
    text, where = _preset_text(preset)
    settings = parse_yaml(text, f"preset {where}")
    if not isinstance(settings, dict):
        raise UsageError(f"preset {where} must hold lines of the form `name: value`")
    known = TrainSettings().flat()
    unknown = sorted(str(name) for name in settings if name not in known)
    if unknown:
        raise UsageError(f"preset {where} has unknown settings: {', '.join(unknown)}; see --help for those there are")
    return as_options(settings, f"preset {where}")


def parse_yaml(text: str, where: str) -> Any:
    """Numbers, text, lists and mappings from YAML; no other objects.

    Raises:
      UsageError: it is none.
    """
    try:
        return yaml.safe_load(text)
    # PyYAML passes on what int, datetime and its own tables raise at scalars that are none.
    except (
        yaml.YAMLError,
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise UsageError(f"{where} is not YAML: {error}") from None


def as_options(settings: Mapping[str, object], where: str) -> list[str]:
    """Settings from a file as command line options: the values, and nothing that would be an option itself.

    Raises:
      UsageError: a value is neither a number, text nor a list of these.
    """
    return [argument for name, value in settings.items() for argument in _option(name, value, where)]


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


def _preset_text(preset: str) -> tuple[str, str]:
    if preset in bundled_presets():
        return (_BUNDLED / f"{preset}.yaml").read_text(encoding="utf-8"), preset
    path = Path(preset)
    try:
        return read_small(path), str(path)
    except (OSError, ValueError) as error:
        names = ", ".join(bundled_presets())
        raise UsageError(
            f"preset {preset}: neither a file that can be read ({type(error).__name__}) nor one of {names}"
        ) from None


def _option(name: str, value: object, where: str) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool) and isinstance(TrainSettings().flat().get(name, value), bool):
        return [flag if value else f"--no-{flag.removeprefix('--')}"]
    items = value if isinstance(value, list) else [value]
    for item in items:
        if not isinstance(item, str | int | float | datetime.date | None) or _is_option(item):
            raise UsageError(f"{where} has a value of {name} that it cannot have: {item!r}")
    return [flag, *map(str, items)]


def _is_option(item: object) -> bool:
    """Whether the parser would take a value for an option: it begins with a dash, and is no number."""
    if not isinstance(item, str) or not item.startswith("-"):
        return False
    try:
        float(item)
    except ValueError:
        return True
    return False


def _description() -> str:
    names = ", ".join(bundled_presets())
    fields = [field.name.replace("_", "-") for field in dataclasses.fields(TrainSettings)]
    return (
        f"{TrainSettings.__doc__}\n\nOptions come in groups: {', '.join(fields)}. --preset NAME or FILE.yaml reads any "
        f"of them from a preset ({names}, or your own); options given beside it win. --resume RUN_DIR goes on "
        "with a run that was stopped or killed, with its own settings. --allow-import lets an --env of the form "
        "module:Id import that module, which runs its code."
    )

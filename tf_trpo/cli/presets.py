"""Presets: YAML files of settings, read as if their lines were options."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

import tyro
import yaml

from tf_trpo.cli.algorithms import foreign_settings
from tf_trpo.cli.errors import UsageError
from tf_trpo.cli.settings import TrainSettings

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
      UsageError: a preset that cannot be read, or with an unknown setting.
      SystemExit: an option that cannot be parsed (status 2), or --help (0).
    """
    presets, options = split_option(argv, "--preset", f"a name ({', '.join(bundled_presets())}) or a YAML file")
    arguments = [argument for preset in presets for argument in preset_options(preset)]
    settings = _parsed([*arguments, *options], prog)
    foreign = foreign_settings(settings)
    if foreign:
        bundled = [name for name in presets if name in bundled_presets()]
        said = _parsed([argument for preset in bundled for argument in preset_options(preset)], prog).flat()
        settings = settings.with_defaults([name for name in foreign if said[name] == settings.flat()[name]])
    return settings


def _parsed(arguments: Sequence[str], prog: str) -> TrainSettings:
    return tyro.cli(
        TrainSettings,
        args=arguments,
        prog=prog,
        config=(tyro.conf.OmitArgPrefixes,),
        description=_description(),
    )


def preset_options(preset: str) -> list[str]:
    """A preset's settings as command line options.

    Args:
      preset: a bundled preset's name or a path of a YAML file with `name: value` lines.
    """
    text, where = _preset_text(preset)
    try:
        settings = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"preset {where} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(settings, dict):
        raise UsageError(f"preset {where} must hold lines of the form `name: value`")
    known = TrainSettings().flat()
    unknown = sorted(str(name) for name in settings if name not in known)
    if unknown:
        raise UsageError(f"preset {where} has unknown settings: {', '.join(unknown)}; see --help for those there are")
    return as_options(settings)


def as_options(settings: Mapping[str, object]) -> list[str]:
    """Settings as command line options."""
    return [argument for name, value in settings.items() for argument in _option(name, value)]


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
        return path.read_text(encoding="utf-8"), str(path)
    except (OSError, UnicodeDecodeError) as error:
        names = ", ".join(bundled_presets())
        raise UsageError(
            f"preset {preset}: neither a file that can be read ({type(error).__name__}) nor one of {names}"
        ) from None


def _option(name: str, value: object) -> list[str]:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    if isinstance(value, list):
        return [f"--{flag}", *(str(item) for item in value)]
    return [f"--{flag}", str(value)]


def _description() -> str:
    names = ", ".join(bundled_presets())
    fields = [field.name.replace("_", "-") for field in dataclasses.fields(TrainSettings)]
    return (
        f"{TrainSettings.__doc__}\n\nOptions come in groups: {', '.join(fields)}. --preset NAME or FILE.yaml reads any "
        f"of them from a preset ({names}, or your own); options given beside it win. --resume RUN_DIR goes on "
        "with a run that was stopped or killed, with its own settings."
    )

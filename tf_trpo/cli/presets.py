"""From arguments of `train` to settings: which presets apply, and what beats what."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import tyro

from tf_trpo.cli.algorithms import foreign_settings
from tf_trpo.cli.errors import UsageError, one_line
from tf_trpo.cli.parsing import parse, split_option
from tf_trpo.cli.preset_files import Preset, bundled_presets, read_preset
from tf_trpo.cli.settings import TrainSettings

NO_PRESET = "none"
"""The value of --preset that takes none."""


class Choice(NamedTuple):
    """What `train` was asked for.

    Attributes:
      settings: every setting.
      source: which presets they come from, in a line.
    """

    settings: TrainSettings
    source: str


def parse_settings(argv: Sequence[str], prog: str) -> TrainSettings:
    """The settings of `parse_choice`."""
    return parse_choice(argv, prog).settings


def parse_choice(argv: Sequence[str], prog: str) -> Choice:
    """Settings from defaults, then presets, then the other options.

    Presets are those of --preset NAME or FILE, in their order; without any, the bundled one that names the
    environment. Of each, the shared lines come first and then what differs in the environment. All go through
    the parser of the command line, so both are checked by one piece of code and a later value replaces an
    earlier one. A bundled preset serves every algorithm: what it sets for others than the one chosen is left out.

    Raises:
      UsageError: a preset that cannot be read, or with an unknown setting; an option that cannot be parsed.
      SystemExit: after --help, with status 0.
    """
    names, options = split_preset(argv)
    presets = [read_preset(name) for name in names if name != NO_PRESET]
    if NO_PRESET in names and presets:
        raise UsageError(f"--preset {NO_PRESET} cannot stand beside another one")
    env = _environment(presets, options, prog)
    source = f"preset {', '.join(names)}"
    if not names:
        presets = presets_naming(env)
        source = (
            f"preset {presets[0].name}, for {env}" if presets else f"preset {NO_PRESET}: no bundled one names {env}"
        )
    return Choice(_settings(presets, env, options, prog), one_line(source))


def split_preset(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The values of --preset, and the other arguments.

    Raises:
      UsageError: it stands without one.
    """
    return split_option(argv, "--preset", f"a name ({', '.join([*bundled_presets(), NO_PRESET])}) or a YAML file")


def presets_naming(env: str) -> list[Preset]:
    """The bundled preset that names an environment: one, or none."""
    return [preset for preset in map(read_preset, bundled_presets()) if env in preset.differences]


def parse_options(arguments: Sequence[str], prog: str) -> TrainSettings:
    """Settings from defaults and options, without presets.

    Raises:
      UsageError: an option cannot be parsed.
      SystemExit: after --help, with status 0.
    """
    config = (tyro.conf.OmitArgPrefixes,)
    settings: TrainSettings = parse(TrainSettings, arguments, prog, config=config, description=_description())
    return settings


def parse_file(arguments: Sequence[str], prog: str, where: str) -> TrainSettings:
    """Settings from the options that a file makes.

    Raises:
      UsageError: one cannot be parsed; the message says where it stands.
    """
    try:
        return parse_options(arguments, prog)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _environment(presets: Sequence[Preset], options: Sequence[str], prog: str) -> str:
    """The environment that is trained: of the options, else of a preset's own line, else the default."""
    try:
        shared = [argument for preset in presets for argument in preset.shared]
        return parse_options([*shared, *options], prog).environment.env
    except UsageError:
        for preset in presets:
            parse_file(preset.shared, prog, f"preset {preset.name}")
        raise


def _settings(presets: Sequence[Preset], env: str, options: Sequence[str], prog: str) -> TrainSettings:
    try:
        settings = parse_options([*_of_presets(presets, env), *options], prog)
    except UsageError:
        for preset in presets:
            parse_file(preset.options_for(env), prog, f"preset {preset.name}, environment {env}")
        raise
    foreign = foreign_settings(settings)
    if foreign:
        own = [preset for preset in presets if not preset.is_bundled]
        said, defaults = parse_options([*_of_presets(own, env), *options], prog).flat(), TrainSettings().flat()
        settings = settings.with_defaults([name for name in foreign if said[name] == defaults[name]])
    return settings


def _of_presets(presets: Sequence[Preset], env: str) -> list[str]:
    return [argument for preset in presets for argument in preset.options_for(env)]


def _description() -> str:
    names = ", ".join(bundled_presets())
    fields = [field.name.replace("_", "-") for field in dataclasses.fields(TrainSettings)]
    return (
        f"{TrainSettings.__doc__}\n\nOptions come in groups: {', '.join(fields)}. --preset NAME or FILE.yaml reads any "
        f"of them from a preset ({names}, or your own); options given beside it win. Without it, the one of these "
        f"presets that names the environment is taken, if one does; --preset {NO_PRESET} takes none. --resume RUN_DIR "
        "goes on with a run that was stopped or killed, with its own settings. --allow-import lets an --env of the "
        "form module:Id import that module, which runs its code."
    )

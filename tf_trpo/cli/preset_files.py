"""Preset files: settings as YAML, shared ones and, for each environment, those that differ there."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tf_trpo.cli.errors import UsageError
from tf_trpo.cli.settings import TrainSettings
from tf_trpo.files import read_small

_BUNDLED = resources.files("tf_trpo") / "presets"
_ENVIRONMENTS = "environments"
"""The key of a preset that is no setting: Gymnasium id -> settings that differ there."""


class Preset(NamedTuple):
    """A preset file, its settings as command line options.

    Attributes:
      name: of a bundled preset, or the path of a file.
      shared: options of its own lines.
      differences: for each environment that it names, the options that follow the shared ones there.
    """

    name: str
    shared: tuple[str, ...]
    differences: Mapping[str, tuple[str, ...]]

    @property
    def is_bundled(self) -> bool:
        """Whether it comes with the package."""
        return self.name in bundled_presets()

    def options_for(self, env: str) -> tuple[str, ...]:
        """What it says of an environment: the shared lines, then what differs there."""
        return self.shared + self.differences.get(env, ())


def bundled_presets() -> list[str]:
    """Names of the presets that come with the package."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _BUNDLED.iterdir() if entry.name.endswith(".yaml"))


def read_preset(preset: str) -> Preset:
    """A preset whose settings exist; their values are checked where they are parsed.

    Args:
      preset: a bundled preset's name or a path of a YAML file.

    Raises:
      UsageError: it cannot be read, or is none.
    """
    text, name = _preset_text(preset)
    where = f"preset {name}"
    shared = parse_yaml(text, where)
    if not isinstance(shared, dict):
        raise UsageError(f"{where} must hold lines of the form `name: value`")
    environments = shared.pop(_ENVIRONMENTS, {})
    if not isinstance(environments, dict):
        raise UsageError(f"{where} must hold lines of the form `id: {{name: value}}` under {_ENVIRONMENTS}")
    differences = {env: _differences(env, of_env, where) for env, of_env in environments.items()}
    return Preset(name, _known_options(shared, where), differences)


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


def _differences(env: object, settings: object, where: str) -> tuple[str, ...]:
    """The options of one environment."""
    where = f"{where}, environment {env}"
    if not isinstance(env, str) or not env:
        raise UsageError(f"{where}: it must be a Gymnasium id")
    if not isinstance(settings, dict):
        raise UsageError(f"{where} must hold {{name: value}} of the settings that differ, {{}} for none")
    if "env" in settings:
        raise UsageError(f"{where} cannot set env")
    return _known_options(settings, where)


def _known_options(settings: dict[object, object], where: str) -> tuple[str, ...]:
    known = TrainSettings().flat()
    unknown = sorted(str(name) for name in settings if name not in known)
    if unknown:
        raise UsageError(f"{where} has unknown settings: {', '.join(unknown)}; see --help for those there are")
    return tuple(as_options({str(name): value for name, value in settings.items()}, where))


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

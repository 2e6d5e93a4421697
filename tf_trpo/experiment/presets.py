"""Presets: YAML files of settings, some shared and some for single environments."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Collection, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from tf_trpo.experiment.conversion import Flat, foreign, unknown_names
from tf_trpo.files import parsed_yaml, read_small
from tf_trpo.suggestions import nearest_hint

_BUNDLED = resources.files("tf_trpo.experiment") / "presets"
_ENVIRONMENTS = "environments"
"""The only key of a preset that is not a setting: Gymnasium id -> settings of that environment."""


class Preset(NamedTuple):
    """A preset file.

    Attributes:
      name: name of a bundled preset, or path of a file.
      is_bundled: whether the preset comes with the package.
      shared: the settings for all environments.
      differences: for each environment that the preset names, the settings that differ from the shared ones.
    """

    name: str
    is_bundled: bool
    shared: Flat
    differences: Mapping[str, Flat]


def bundled_presets() -> list[str]:
    """Return the names of the presets that come with the package."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _BUNDLED.iterdir() if entry.name.endswith(".yaml"))


def bundled_for(env: str, known: Collection[str]) -> list[Preset]:
    """Return the bundled presets that name an environment: one or none."""
    return [preset for name in bundled_presets() if env in (preset := read_preset(name, known)).differences]


def read_preset(preset: str | Path, known: Collection[str]) -> Preset:
    """Read a preset. Its values are not checked here, but when they are converted.

    Args:
      preset: name of a bundled preset, or path of a YAML file.
      known: the names of all settings.

    Raises:
      ValueError: the preset cannot be read or has the wrong form, or a setting is unknown.
    """
    where = f"preset {preset}"
    shared = _parsed(preset)
    if not isinstance(shared, dict):
        raise ValueError(f"{where} must hold lines of the form `name: value`")
    environments = shared.pop(_ENVIRONMENTS, {})
    if not isinstance(environments, dict):
        raise ValueError(f"{where} must hold lines of the form `id: {{name: value}}` under {_ENVIRONMENTS}")
    _check_names(shared, known, where)
    for env, settings in environments.items():
        where = f"preset {preset}, environment {env}"
        if not isinstance(env, str) or not env:
            raise ValueError(f"{where}: it must be a Gymnasium id")
        if not isinstance(settings, dict):
            raise ValueError(f"{where} must hold {{name: value}} of the settings that differ, {{}} for none")
        if "env" in settings:
            raise ValueError(f"{where} cannot set env")
        _check_names(settings, known, where)
    return Preset(str(preset), preset in bundled_presets(), shared, environments)


def layered(presets: Sequence[Preset], given: Mapping[str, Any], default_env: str) -> tuple[Flat, dict[str, str]]:
    """Merge presets and given settings: later presets override earlier ones, and `given` overrides all.

    In each preset, the settings of the environment override the shared ones. A bundled preset may have settings of
    several algorithms; those of algorithms that were not chosen are left out.

    Args:
      presets: presets, from lowest to highest priority.
      given: settings of the highest priority.
      default_env: the environment, if neither the presets nor `given` name one.

    Returns:
      The settings, and for those that come from a file the prefix of error messages about them.
    """
    given = dict(given)
    env = ChainMap(given, *(preset.shared for preset in reversed(presets)), {"env": default_env})["env"]
    layers = []
    for preset in presets:
        layers.append((preset, f"preset {preset.name}: ", preset.shared))
        if isinstance(env, str) and env in preset.differences:
            layers.append((preset, f"preset {preset.name}, environment {env}: ", preset.differences[env]))
    lower = (settings for *_, settings in reversed(layers))
    algorithm = ChainMap(given, *lower, {"algorithm": "trpo"})["algorithm"]
    left_out = foreign(algorithm) if isinstance(algorithm, str) else set()
    found: Flat = {}
    sources: dict[str, str] = {}
    for preset, where, settings in layers:
        used = {name: settings[name] for name in settings if not preset.is_bundled or name not in left_out}
        found |= used
        sources |= dict.fromkeys(used, where)
    return found | given, {name: sources[name] for name in sources if name not in given}


def _parsed(preset: str | Path) -> Any:
    """Read and parse a preset's YAML."""
    if preset in bundled_presets():
        text = (_BUNDLED / f"{preset}.yaml").read_text(encoding="utf-8")
    else:
        try:
            text = read_small(Path(preset))
        except (OSError, ValueError) as error:
            kind, names = type(error).__name__, ", ".join(bundled_presets())
            hint = nearest_hint(str(preset), bundled_presets())
            message = f"preset {preset}: neither a file that can be read ({kind}) nor one of {names}{hint}"
            raise ValueError(message) from None
    return parsed_yaml(text, f"preset {preset}")


def _check_names(settings: dict[Any, object], known: Collection[str], where: str) -> None:
    unknown = sorted(str(name) for name in settings if name not in known)
    if unknown:
        raise ValueError(f"{where} has unknown settings: {unknown_names(unknown, known)}")

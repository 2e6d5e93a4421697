"""Suites: YAML files of the runs that `benchmark learn` trains."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from tf_trpo.cli.errors import UsageError
from tf_trpo.cli.preset_files import as_options, parse_yaml
from tf_trpo.cli.settings import LARGEST_SEED, TrainSettings
from tf_trpo.files import read_small

_SEED_COUNT = 5
"""Seeds of an entry that does not say how many."""
_BUNDLED = resources.files("tf_trpo") / "suites"


class Entry(NamedTuple):
    """One line of a suite: settings that are trained with several seeds.

    Attributes:
      env: Gymnasium id.
      name: of the settings.
      options: of `train`, without environment, seed and folder.
      first_seed: of those that it is trained with, where nothing else is asked for.
      seed_count: how many those are.
    """

    env: str
    name: str
    options: tuple[str, ...]
    first_seed: int
    seed_count: int

    def seeds(self, first: int | None = None, count: int | None = None) -> range:
        """So many seeds from the first one; None for the entry's own.

        Raises:
          UsageError: some are too large.
        """
        first = self.first_seed if first is None else first
        seeds = range(first, first + (self.seed_count if count is None else count))
        if seeds[-1] > LARGEST_SEED:
            raise UsageError(f"{self.env}/{self.name}: the last seed must be at most {LARGEST_SEED}, got {seeds[-1]}")
        return seeds

    def is_one_of(self, selected: tuple[str, ...]) -> bool:
        """Whether its environment, its name or both as ENVIRONMENT/NAME are selected; nothing selects all."""
        return not selected or bool({self.env, self.name, f"{self.env}/{self.name}"} & set(selected))


def bundled_suites() -> list[str]:
    """Names of the suites that come with the package."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _BUNDLED.iterdir() if entry.name.endswith(".yaml"))


def read_suite(suite: str) -> list[Entry]:
    """The entries of a suite.

    Args:
      suite: a bundled suite's name, or a path of a YAML file: environment -> name -> settings of train, whose seed is
        the first one of so many `seeds`.

    Raises:
      UsageError: the file cannot be read, or is no suite.
    """
    try:
        bundled = suite in bundled_suites()
        text = (_BUNDLED / f"{suite}.yaml").read_text(encoding="utf-8") if bundled else read_small(Path(suite))
        content = parse_yaml(text, "the file")
    except (OSError, ValueError, UsageError) as error:
        names = ", ".join(bundled_suites())
        raise UsageError(f"suite {suite}: neither a YAML file nor one of {names}: {error}") from None
    levels = [content, *(content.values() if isinstance(content, dict) else [])]
    levels += [settings for names in levels[1:] if isinstance(names, dict) for settings in names.values()]
    if not content or not all(isinstance(level, dict) for level in levels):
        raise UsageError(f"suite {suite} must hold, for each environment, names with settings of train")
    return [
        _entry(str(env), str(name), settings, f"suite {suite}: {env}/{name}")
        for env, names in content.items()
        for name, settings in names.items()
    ]


def selected(entries: Sequence[Entry], only: tuple[str, ...], suite: str) -> list[Entry]:
    """The entries that are one of ENVIRONMENT, NAME or ENVIRONMENT/NAME; all of them if none is named.

    Raises:
      UsageError: there are none.
    """
    found = [entry for entry in entries if entry.is_one_of(only)]
    if not found:
        raise UsageError(f"suite {suite} has nothing of {', '.join(only)}")
    return found


def _entry(env: str, name: str, settings: dict[str, object], where: str) -> Entry:
    # Both are names of folders, which a run that is begun anew empties.
    if name in (".", "..") or "/" in name or "\0" in name or ".." in env.split("/") or env.startswith("/"):
        raise UsageError(
            f"{where} is no name of an environment and of settings: it would lie outside of the run folder"
        )
    unknown = sorted(str(key) for key in settings.keys() - {"preset", "seeds", *TrainSettings().flat()})
    if unknown:
        raise UsageError(f"{where} has unknown settings: {', '.join(unknown)}; see train --help for those there are")
    first_seed = settings.get("seed", 0)
    if type(first_seed) is not int or not 0 <= first_seed <= LARGEST_SEED:
        raise UsageError(f"{where} must have a seed from 0 to {LARGEST_SEED}, got {first_seed!r}")
    seed_count = settings.get("seeds", _SEED_COUNT)
    if type(seed_count) is not int or seed_count < 1:
        raise UsageError(f"{where} must have at least 1 of seeds, got {seed_count!r}")
    own = {key: value for key, value in settings.items() if key not in ("seed", "seeds")}
    return Entry(env, name, tuple(as_options(own, where)), first_seed, seed_count)

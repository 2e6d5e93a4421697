"""Environments on the command line: an id or a wrapper that has Python import a module needs a flag."""

from __future__ import annotations

from collections.abc import Sequence

ALLOW_IMPORT = "--allow-import"
"""An option of commands only: no preset, config.json or checkpoint can set it."""
_OWN = ("tf_trpo.environments", "gymnasium.wrappers")
"""Modules that are imported anyway."""


def imported_modules(env: str, wrappers: Sequence[str] = ()) -> list[str]:
    """List what would be imported for an id, as for my_package.envs:MyEnv-v0, and for wrappers."""
    named = [env] if ":" in env else []
    modules = [name.partition(":")[0] for name in (*named, *wrappers)]
    return [module for module in modules if module not in _OWN]


def check_imports(env: str, wrappers: Sequence[str] = (), *, allow_import: bool) -> None:
    """Raise ValueError if an id or a wrapper has a module imported, unless that is allowed."""
    modules = imported_modules(env, wrappers)
    if modules and not allow_import:
        what = f"env {env}" if ":" in env else f"wrapper {next(each for each in wrappers if modules[0] in each)}"
        raise ValueError(
            f"{what} has Python import the module {modules[0]!r}, which runs its code: give {ALLOW_IMPORT} as well "
            "if you trust that module"
        )


def flag_for(env: str, wrappers: Sequence[str] = ()) -> str:
    """Write what a command line with this id and these wrappers needs in addition."""
    return f" {ALLOW_IMPORT}" if imported_modules(env, wrappers) else ""

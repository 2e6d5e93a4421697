"""Environments on the command line: an id or a wrapper that has Python import a module needs a flag."""

from __future__ import annotations

from collections.abc import Sequence

ALLOW_IMPORT = "--allow-import"
"""An option of commands only: no preset, config.json or checkpoint can set it."""
_OWN = ("tf_trpo.environments", "gymnasium.wrappers")
"""Modules that are imported anyway."""


def imported_modules(env: str, wrappers: Sequence[str] = (), costs: Sequence[str] = ()) -> dict[str, str]:
    """Give the modules that an id, such as my_package.envs:MyEnv-v0, wrappers and costs have imported, by these."""
    named = {f"env {env}": env} if ":" in env else {}
    named |= {f"wrapper {wrapper}": wrapper for wrapper in wrappers}
    named |= {f"cost {cost}": cost for cost in costs if ":" in cost}
    return {what: module for what, name in named.items() if (module := name.partition(":")[0]) not in _OWN}


def check_imports(env: str, wrappers: Sequence[str] = (), costs: Sequence[str] = (), *, allow_import: bool) -> None:
    """Raise ValueError if an id, a wrapper or a cost has a module imported, unless that is allowed."""
    for what, module in imported_modules(env, wrappers, costs).items():
        if not allow_import:
            raise ValueError(
                f"{what} has Python import the module {module!r}, which runs its code: give {ALLOW_IMPORT} as well if "
                "you trust that module"
            )


def flag_for(env: str, wrappers: Sequence[str] = (), costs: Sequence[str] = ()) -> str:
    """Write what a command line with this id, these wrappers and costs needs in addition."""
    return f" {ALLOW_IMPORT}" if imported_modules(env, wrappers, costs) else ""

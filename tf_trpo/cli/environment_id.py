"""Ids of environments on the command line: an id that has Gymnasium import a module needs a flag."""

from __future__ import annotations

ALLOW_IMPORT = "--allow-import"
"""An option of commands only: no preset, config.json or checkpoint can set it."""


def imports_module(env: str) -> bool:
    """Tell whether Gymnasium would import a module for this id, as for my_package.envs:MyEnv-v0."""
    return ":" in env


def check_environment_id(env: str, *, allow_import: bool) -> None:
    """Raise ValueError if an id has Gymnasium import a module, unless that is allowed."""
    if imports_module(env) and not allow_import:
        module = env.partition(":")[0]
        raise ValueError(
            f"env {env} has Python import the module {module!r}, which runs its code: give {ALLOW_IMPORT} as well "
            "if you trust that module"
        )


def flag_for(env: str) -> str:
    """Write what a command line with this id needs in addition."""
    return f" {ALLOW_IMPORT}" if imports_module(env) else ""

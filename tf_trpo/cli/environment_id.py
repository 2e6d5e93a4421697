"""Ids of environments on the command line: those that have Gymnasium import a module need a flag."""

from __future__ import annotations

from tf_trpo.cli.errors import UsageError

ALLOW_IMPORT = "--allow-import"
"""Said on the command line only: no preset, config.json or checkpoint can say it."""


def imports_module(env: str) -> bool:
    """Whether Gymnasium would import a module for this id, as for my_package.envs:MyEnv-v0."""
    return ":" in env


def check_environment_id(env: object, *, allow_import: bool) -> str:
    """The id, if it is one, and if the module that it has imported is allowed to be.

    Raises:
      UsageError: it is not.
    """
    if not isinstance(env, str) or not env:
        raise UsageError(f"env must be the Gymnasium id of an environment, got {env!r}")
    if imports_module(env) and not allow_import:
        module = env.partition(":")[0]
        raise UsageError(
            f"env {env} has Python import the module {module!r}, which runs its code: give {ALLOW_IMPORT} beside it "
            "if you trust that module"
        )
    return env


def flag_for(env: str) -> str:
    """What a command line with this id needs beside it."""
    return f" {ALLOW_IMPORT}" if imports_module(env) else ""

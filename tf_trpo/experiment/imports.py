"""Environments, wrappers and costs on the command line that make Python import a module, which needs a flag."""

from __future__ import annotations

from tf_trpo.experiment.settings import EnvironmentSettings

ALLOW_IMPORT = "--allow-import"
"""A command line option; no preset, config.json or checkpoint can set it."""
_OWN = ("tf_trpo.environments", "gymnasium.wrappers")
"""Modules whose wrappers need no flag, since the modules are imported in any case. As environments or costs, their
functions would be called with other arguments."""


def imported_modules(env: str, making: EnvironmentSettings) -> dict[str, str]:
    """Return the modules that an environment such as my_envs:MyEnv, wrappers and costs import, by a description."""
    named = {f"env {env}": env} if ":" in env else {}
    named |= {f"wrapper {wrapper}": wrapper for wrapper in making.wrapper if wrapper.partition(":")[0] not in _OWN}
    named |= {f"cost {cost}": cost for cost in making.costs if ":" in cost}
    return {what: name.partition(":")[0] for what, name in named.items()}


def check_imports(env: str, making: EnvironmentSettings, *, allow_import: bool) -> None:
    """Raise ValueError if an id, a wrapper or a cost imports a module, unless imports are allowed."""
    for what, module in imported_modules(env, making).items():
        if not allow_import:
            raise ValueError(
                f"{what} makes Python import the module {module!r}, which runs its code: add {ALLOW_IMPORT} if you "
                "trust that module"
            )


def flag_for(env: str, making: EnvironmentSettings) -> str:
    """Return the flag that a command line with this id and these settings needs, or an empty string."""
    return f" {ALLOW_IMPORT}" if imported_modules(env, making) else ""

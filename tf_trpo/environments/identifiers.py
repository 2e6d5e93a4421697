"""Environment ids that come from elsewhere."""

from __future__ import annotations


def check_identifier(environment: str, *, allow_import: bool) -> str:
    """Refuse an id "module:Id" unless it is allowed: Gymnasium imports the module, and so runs it.

    Args:
      environment: Gymnasium's id.
      allow_import: let it import a module.

    Returns:
      The id.

    Raises:
      ValueError: it would import a module, and may not.
    """
    if ":" in environment and not allow_import:
        module = environment.partition(":")[0]
        raise ValueError(f"environment {environment!r} would import the module {module!r}: allow it by --allow-import")
    return environment

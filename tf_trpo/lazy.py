"""Import names at their first use, so that `import tf_trpo` and `--help` do not wait for TensorFlow.

The modules of settings, and the numerics that they import, import TensorFlow from here:

    from tf_trpo.lazy import tensorflow as tf
"""

from __future__ import annotations

import ast
import importlib
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any


class _LazyModule(types.ModuleType):
    """Stands in for a module, and imports it when an attribute is first used."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


tensorflow: Any = _LazyModule("tensorflow")


def exports(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Make `__getattr__`, `__dir__` and `__all__` of a package whose names are imported at their first use.

    The names are those that the package's file imports as themselves (`Policy as Policy`), for type checkers only:

        if TYPE_CHECKING:
            from tf_trpo.models.policy import Policy as Policy
        else:
            __getattr__, __dir__, __all__ = exports(__name__, __file__)
    """
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    modules = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
        if alias.asname == alias.name
    }

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if modules[name] == package:
            return importlib.import_module(f"{package}.{name}")
        return getattr(importlib.import_module(modules[name]), name)

    return get, lambda: sorted({*vars(sys.modules[package]), *modules}), sorted(modules)

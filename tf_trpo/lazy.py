"""Names that are imported at their first use, so that `import tf_trpo` and `--help` do not wait for TensorFlow.

The modules of settings, and the numerics below them, take TensorFlow from here:

    from tf_trpo.lazy import tensorflow as tf
"""

from __future__ import annotations

import importlib
import types
from collections.abc import Callable, Mapping
from typing import Any


class _LazyModule(types.ModuleType):
    """Stands for a module, and imports the module when an attribute is asked for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


tensorflow: Any = _LazyModule("tensorflow")


def exports(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Make the `__getattr__` of a package whose names are imported at their first use.

    Args:
      package: the package's `__name__`.
      modules: for each public name, the module of the package that defines the name; a module that is itself public
        is given as an empty string.

    Returns:
      The function; it raises AttributeError for an unknown name.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(f"{package}.{modules[name] or name}")
        return getattr(module, name) if modules[name] else module

    return get

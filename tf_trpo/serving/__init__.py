"""Trained policies outside of training: exported models, and a server for them.

The names below are loaded when they are first used: the server needs TensorFlow, and none of Keras.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tf_trpo.serving.export import export_policy
    from tf_trpo.serving.metadata import ModelMetadata, Origin, read_metadata

_FILES = {"export_policy": "export", "ModelMetadata": "metadata", "Origin": "metadata", "read_metadata": "metadata"}

__all__ = ["ModelMetadata", "Origin", "export_policy", "read_metadata"]


def __getattr__(name: str) -> Any:
    if name in _FILES:
        return getattr(importlib.import_module(f"tf_trpo.serving.{_FILES[name]}"), name)
    raise AttributeError(f"module 'tf_trpo.serving' has no attribute {name!r}")

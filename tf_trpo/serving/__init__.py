"""Trained policies outside of training: exported models, and a server for them.

The names below are loaded when they are first used: the server needs TensorFlow, and none of Keras.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tf_trpo.lazy import exports

if TYPE_CHECKING:
    from tf_trpo.serving.export import export_policy
    from tf_trpo.serving.metadata import ModelMetadata, read_metadata

__all__ = ["ModelMetadata", "export_policy", "read_metadata"]
__getattr__ = exports(__name__, {name: "export" if name == "export_policy" else "metadata" for name in __all__})

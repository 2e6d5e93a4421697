"""Trust Region Policy Optimization for TensorFlow and Keras.

The names below are loaded when they are first used: `import tf_trpo` and `--help` do not wait for
TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tf_trpo import (
        callbacks,
        distributions,
        environments,
        estimation,
        experiment,
        models,
        numerics,
        optimizers,
        rollouts,
        serving,
        theory,
    )
    from tf_trpo.experiment import Experiment
    from tf_trpo.training import TRPO, load

__version__ = "0.1.0"

__all__ = [
    "TRPO",
    "Experiment",
    "callbacks",
    "distributions",
    "environments",
    "estimation",
    "experiment",
    "load",
    "models",
    "numerics",
    "optimizers",
    "rollouts",
    "serving",
    "theory",
]


def __getattr__(name: str) -> Any:
    if name in ("TRPO", "load"):
        return getattr(importlib.import_module("tf_trpo.training"), name)
    if name == "Experiment":
        return importlib.import_module("tf_trpo.experiment").Experiment
    if name in __all__:
        return importlib.import_module(f"tf_trpo.{name}")
    raise AttributeError(f"module 'tf_trpo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Which settings of a run make its result what it is, so that runs can be compared by them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tf_trpo.cli.algorithms import SETTINGS, unused_settings
from tf_trpo.cli.settings import RunSettings

IMMATERIAL = frozenset(field.name for field in dataclasses.fields(RunSettings)) - {"total_steps", "seed"} | {
    "jit_compile",
    "fisher_vector_product",
}
"""Settings that change no more of a result than rounding."""

_FIRST = ("env", "algorithm", "max_kl", "natural_max_kl", "target_kl", "total_steps", "seed")


def hyperparameters(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A run's settings, the foremost first, without those that its result does not depend on.

    Args:
      settings: as config.json holds them, of this version or another.

    Returns:
      Values by name; None for settings that the run's algorithm does not use.
    """
    algorithm = str(settings.get("algorithm"))
    unused = unused_settings(algorithm) if algorithm in SETTINGS else set()
    if algorithm == "natural-policy-gradient" and "natural_max_kl" not in settings:
        unused -= {"max_kl"}  # by which older versions set it
    names = [*(name for name in _FIRST if name in settings), *(name for name in settings if name not in _FIRST)]
    return {name: None if name in unused else settings[name] for name in names if name not in IMMATERIAL}

"""Which settings of a run make its result what it is, so that runs can be compared by them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tf_trpo.experiment.settings import RunSettings

IMMATERIAL = {field.name for field in dataclasses.fields(RunSettings)} - {"total_steps", "schedule_steps", "seed"} | {
    "chunk_size",
    "fisher_vector_product",
}
"""Settings that change no more of a result than rounding."""

_FIRST = ("env", "algorithm", "max_kl", "natural_max_kl", "target_kl", "total_steps", "seed")


def hyperparameters(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Select the settings that a run's result depends on, the foremost first.

    Args:
      settings: as config.json holds them, of this version or another.
    """
    names = [*(name for name in _FIRST if name in settings), *(name for name in settings if name not in _FIRST)]
    return {name: settings[name] for name in names if name not in IMMATERIAL}

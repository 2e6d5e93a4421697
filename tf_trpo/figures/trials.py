"""Figures of a search: returns of the trials, and importances of the settings."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tf_trpo.figures.run_curves import literal
from tf_trpo.figures.style import BLUE, GREY, VERMILION


def draw_trials(numbers: NDArray, values: NDArray[np.float64], complete: NDArray[np.bool_]) -> Figure:
    """Draw the return of every trial, and the best so far of the trials that were trained to the end.

    Args:
      numbers: numbers of N >= 1 trials, increasing.
      values: mean returns [N].
      complete: bool [N], False for trials that were stopped early.
    """
    figure = Figure(figsize=(8.0, 4.0))
    axes = figure.subplots()
    axes.plot(numbers[complete], values[complete], "o", color=BLUE, label="trained to the end")
    if not complete.all():
        axes.plot(numbers[~complete], values[~complete], "x", color=GREY, label="pruned")
    best = np.maximum.accumulate(values[complete])
    axes.plot(numbers[complete], best, drawstyle="steps-post", color=VERMILION, label="best so far")
    axes.set(xlabel="trial", ylabel="mean return of the evaluation")
    axes.grid(axis="y", color=GREY, alpha=0.25)
    axes.legend()
    return figure


def draw_importances(importances: Mapping[str, float]) -> Figure:
    """Draw the fraction of the differences between trials that each setting explains.

    Args:
      importances: setting -> fraction in [0, 1].
    """
    names = sorted(importances, key=lambda name: importances[name])
    figure = Figure(figsize=(6.0, 1.2 + 0.3 * len(names)))
    axes = figure.subplots()
    axes.barh([literal(name) for name in names], [importances[name] for name in names], color=BLUE)
    axes.set(xlabel="importance (PED-ANOVA; an estimate from few trials)", xlim=(0, 1))
    return figure

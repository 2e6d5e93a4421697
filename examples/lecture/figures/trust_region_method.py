"""Figure 3: the trust-region loop on a non-convex valley, with three solvers of its subproblem."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Patch
from numpy.typing import NDArray

from examples.lecture import (
    TrustRegionResult,
    TrustRegionSettings,
    cauchy_step,
    dogleg_step,
    exact_step,
    minimize_in_trust_regions,
)
from tf_trpo.figures.style import BLACK, BLUE, GREEN, ORANGE, VERMILION

STEEPNESS = 10.0
START = (-0.6, 1.6)
MINIMUM = (1.0, 1.0)
SOLVERS = {"exact": exact_step, "dogleg": dogleg_step, "steepest descent": cauchy_step}
COLOURS = {"exact": BLUE, "dogleg": GREEN, "steepest descent": ORANGE}
LINES = {"exact": "-", "dogleg": "--", "steepest descent": "-"}
DRAWN_REGIONS = 11
"""Number of regions that are drawn in a panel, few enough to distinguish them; paths are drawn completely."""


class TrustRegionData(NamedTuple):
    """Runs of the loop.

    Attributes:
      x: coordinates of the contours, [X].
      y: coordinates of the contours, [Y].
      values: f, [Y, X].
      results: the record of the loop for each solver.
      errors: f at all N + 1 iterates for each solver, [N + 1]; the minimum is 0.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    values: NDArray[np.float64]
    results: dict[str, TrustRegionResult]
    errors: dict[str, NDArray[np.float64]]


def valley(point: NDArray[np.float64]) -> float:
    """Evaluate f = (1 - x)^2 + STEEPNESS (y - x^2)^2, a curved valley that is not convex above y = x^2."""
    x, y = point
    return float((1 - x) ** 2 + STEEPNESS * (y - x**2) ** 2)


def valley_gradient(point: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the gradient of `valley`, [2]."""
    x, y = point
    return np.array([-2 * (1 - x) - 4 * STEEPNESS * x * (y - x**2), 2 * STEEPNESS * (y - x**2)])


def valley_hessian(point: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the Hessian of `valley`, [2, 2]."""
    x, y = point
    mixed = -4 * STEEPNESS * x
    return np.array([[2 - 4 * STEEPNESS * (y - 3 * x**2), mixed], [mixed, 2 * STEEPNESS]])


def compute() -> TrustRegionData:
    """Run the loop from the same start with each solver, and evaluate the function on a grid."""
    settings = TrustRegionSettings(radius=1.5, max_radius=2.0, gradient_tolerance=1e-7, max_iterations=2000)
    results = {
        name: minimize_in_trust_regions(
            valley, valley_gradient, valley_hessian, START, solver=solver, settings=settings
        )
        for name, solver in SOLVERS.items()
    }
    x, y = np.linspace(-2.3, 1.7, 241), np.linspace(-0.8, 2.6, 229)
    points = np.stack(np.meshgrid(x, y))
    errors = {
        name: np.array([valley(point) for point in (*result.iterates, result.x)]) for name, result in results.items()
    }
    return TrustRegionData(x, y, np.apply_along_axis(valley, 0, points), results, errors)


def draw(data: TrustRegionData) -> Figure:
    """Draw a panel for each solver, and a panel of their progress."""
    figure = Figure(figsize=(11, 9.6))
    panels = figure.subplots(2, 2)
    for axes, name in zip(panels.flat, data.results, strict=False):
        _path_panel(axes, data, name)
    _progress_panel(panels[1, 1], data)
    handles = [
        Line2D([], [], color=BLACK, marker="o", markersize=4, label="iterates"),
        Patch(fill=False, edgecolor=BLUE, label=f"trusted region (first {DRAWN_REGIONS} steps)"),
        Patch(fill=False, edgecolor=VERMILION, linestyle="--", label="refused region"),
        Line2D([], [], color=VERMILION, marker="x", linestyle="--", label="refused step"),
        Line2D([], [], color=BLACK, marker="*", markersize=11, linestyle="none", label="minimum"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=5)
    return figure


def _path_panel(axes: Axes, data: TrustRegionData, name: str) -> None:
    result = data.results[name]
    levels = np.geomspace(0.02, data.values.max(), 16)
    axes.contour(data.x, data.y, data.values, levels=levels, colors="#cfcfcf", linewidths=0.7)
    for k in range(min(DRAWN_REGIONS, len(result.radii))):
        colour, line, width = (BLUE, "-", 0.8) if result.accepted[k] else (VERMILION, "--", 1.1)
        center = tuple(result.iterates[k])
        axes.add_patch(Circle(center, result.radii[k], fill=False, color=colour, linestyle=line, linewidth=width))
    axes.plot(*np.vstack([result.iterates, result.x]).T, "-o", color=BLACK, linewidth=1.4, markersize=3.2)
    for refused in np.stack([result.iterates, result.candidates], axis=1)[~result.accepted]:
        axes.plot(*refused.T, "--x", color=VERMILION, linewidth=1.2, markersize=7, markevery=[1])
    axes.plot(*MINIMUM, "*", color=BLACK, markersize=13)
    refusals = int((~result.accepted).sum())
    axes.set_title(f"{name.capitalize()}: {len(result.radii)} steps tried, {refusals} refused")
    axes.set(xlabel="x", ylabel="y", xlim=(data.x[0], data.x[-1]), ylim=(data.y[0], data.y[-1]))
    axes.set_aspect("equal")


def _progress_panel(axes: Axes, data: TrustRegionData) -> None:
    for name, errors in data.errors.items():
        steps = np.arange(len(errors))
        # Values below the rounding error are not comparable.
        axes.plot(steps, np.maximum(errors, 1e-17), LINES[name], color=COLOURS[name], label=name)
        refused = np.flatnonzero(~data.results[name].accepted)
        axes.plot(refused, errors[refused], "x", color=VERMILION, markersize=5)
    axes.plot([], [], "x", color=VERMILION, label="refused step")
    axes.set(xscale="symlog", yscale="log", xlabel="steps tried", ylabel="height above the minimum", ylim=(1e-16, 1e2))
    ticks = [0, 1, 3, 10, 30, 100, 300, 1000]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.grid(color="#e5e5e5", linewidth=0.7)
    axes.set_title("Progress")
    axes.legend(loc="lower left")

"""Figure 1: on the linear-quadratic example, the vanilla gradient stops exploring before it finds the best gain."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from examples.lecture import LinearQuadratic
from tf_trpo.figures.style import BLACK, BLUE, GREY, VERMILION

STARTS = ((-1.8, 0.85), (-1.45, 1.0), (-1.0, 0.95), (-0.25, 0.95), (-0.08, 0.7))
"""Initial (k, sigma) of the paths."""
END_SIGMA = 0.02
"""Standard deviation at which a path ends, since there is almost no exploration left."""

Direction = Callable[[NDArray[np.float64]], NDArray[np.float64]]


class NaturalGradientData(NamedTuple):
    """Fields and paths over theta = (k, sigma).

    Attributes:
      problem: the example.
      k: gains of the contours, [X].
      sigma: standard deviations of the contours, [Y].
      objective: J, [Y, X]; minus infinity where it diverges.
      points: positions of the arrows, [N, 2].
      vanilla_arrows: directions of the gradient, unit vectors [N, 2].
      natural_arrows: directions of the natural gradient, unit vectors [N, 2].
      vanilla_paths: paths of steepest ascent, one [n, 2] from each start.
      natural_paths: paths along the natural gradient, one [n, 2] from each start.
      optimal_gain: the best k, which does not depend on sigma.
    """

    problem: LinearQuadratic
    k: NDArray[np.float64]
    sigma: NDArray[np.float64]
    objective: NDArray[np.float64]
    points: NDArray[np.float64]
    vanilla_arrows: NDArray[np.float64]
    natural_arrows: NDArray[np.float64]
    vanilla_paths: list[NDArray[np.float64]]
    natural_paths: list[NDArray[np.float64]]
    optimal_gain: float


def compute() -> NaturalGradientData:
    """Compute both vector fields on a grid, and the paths that follow them from `STARTS`."""
    problem = LinearQuadratic()
    low, high = problem.stable_gains()
    k, sigma = np.linspace(low, high, 402)[1:-1], np.linspace(0.0, 1.1, 222)[1:]
    columns, rows = np.meshgrid(np.linspace(-1.92, -0.06, 16), np.linspace(0.06, 1.04, 9))
    points = np.stack([columns.ravel(), rows.ravel()], axis=1)
    return NaturalGradientData(
        problem=problem,
        k=k,
        sigma=sigma,
        objective=problem.objective(np.stack(np.meshgrid(k, sigma), axis=-1)),
        points=points,
        vanilla_arrows=_unit(problem.gradient(points)),
        natural_arrows=_unit(problem.natural_gradient(points)),
        vanilla_paths=[ascent_path(problem.gradient, start) for start in STARTS],
        natural_paths=[ascent_path(problem.natural_gradient, start) for start in STARTS],
        optimal_gain=problem.optimal_gain(),
    )


def ascent_path(direction: Direction, start: tuple[float, float]) -> NDArray[np.float64]:
    """Follow the curve d theta / ds = direction / |direction| from a start down to END_SIGMA, [n, 2].

    This is the limit of small steps, since the figure compares directions and not step lengths.
    """

    def explores(_: float, theta: NDArray[np.float64]) -> float:
        return float(theta[1] - END_SIGMA)

    explores.terminal = True  # type: ignore[attr-defined]
    # Steps are shorter than END_SIGMA, so that no trial point has a negative sigma.
    path = solve_ivp(lambda _, theta: _unit(direction(theta)), (0, 5), start, events=explores, max_step=0.01)
    return np.asarray(path.y.T, np.float64)


def draw(data: NaturalGradientData) -> Figure:
    """Draw two panels on the contours of J."""
    figure = Figure(figsize=(11, 4.0))
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    _panel(left, data, data.vanilla_arrows, data.vanilla_paths, VERMILION, r"Vanilla gradient $g$")
    _panel(right, data, data.natural_arrows, data.natural_paths, BLUE, r"Natural gradient $F^{-1} g$")
    left.set_ylabel(r"standard deviation of the policy, $\sigma$")
    handles = [
        Line2D([], [], color=BLACK, label="path of ascent"),
        Line2D([], [], color=BLACK, marker="o", linestyle="none", label="start"),
        Line2D([], [], color=BLACK, marker="s", linestyle="none", label=rf"end, $\sigma$ = {END_SIGMA}"),
        Line2D([], [], color=BLACK, linestyle=(0, (4, 3)), label=f"best gain, k = {data.optimal_gain:.3f}"),
        Line2D([], [], color="#c4c4c4", linewidth=1.2, label="contours of the expected return"),
        Line2D([], [], color=GREY, linestyle=":", linewidth=1.2, label="beyond, it diverges"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=6)
    return figure


def _panel(
    axes: Axes,
    data: NaturalGradientData,
    arrows: NDArray[np.float64],
    paths: list[NDArray[np.float64]],
    colour: str,
    title: str,
) -> None:
    levels = np.geomspace(-data.objective.max(), 3e3, 22)
    axes.contour(data.k, data.sigma, -data.objective, levels=levels, colors="#c4c4c4", linewidths=0.7)
    axes.quiver(*data.points.T, *arrows.T, angles="xy", scale=26, width=0.0032, color="#8a8a8a", pivot="mid")
    for path in paths:
        axes.plot(*path.T, color=colour)
        axes.plot(*path[0], "o", color=colour, markersize=5)
        axes.plot(*path[-1], "s", color=colour, markersize=5.5, clip_on=False)
    axes.axvline(data.optimal_gain, color=BLACK, linestyle=(0, (4, 3)), linewidth=1.2)
    errors = [abs(path[-1, 0] - data.optimal_gain) for path in paths]
    axes.set_title(f"{title}: ends within {max(errors):.2g} of the best gain")
    axes.set(xlabel=r"gain of the policy, $k$", xlim=(-2.05, 0.05), ylim=(0, 1.1))
    axes.set_aspect("equal")
    for bound in data.problem.stable_gains():
        axes.axvline(bound, color=GREY, linewidth=0.8, linestyle=":")


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float64)

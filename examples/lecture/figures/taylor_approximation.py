"""Figure 2: Taylor polynomials of exp(-x^2) around 1, and the region in which each can be trusted."""

from __future__ import annotations

from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from examples.lecture import bell_curve, bell_curve_taylor_coefficients, taylor_polynomial
from tf_trpo.figures.style import BLACK, GREY

CENTER = 1.0
LARGEST_ORDER = 8
TOLERANCE = 0.05


class TaylorData(NamedTuple):
    """Polynomials of orders 0 .. n.

    Attributes:
      x: points, [X].
      function: exp(-x^2), [X].
      polynomials: values of the polynomials, [n + 1, X].
      trusted_radii: largest r with an error of at most TOLERANCE for all |x - CENTER| <= r, [n + 1].
    """

    x: NDArray[np.float64]
    function: NDArray[np.float64]
    polynomials: NDArray[np.float64]
    trusted_radii: NDArray[np.float64]


def compute() -> TaylorData:
    """Compute the polynomials on [-1.5, 3.5], and the radius in which the error of each is within the tolerance."""
    x = np.linspace(-1.5, 3.5, 1001)
    coefficients = bell_curve_taylor_coefficients(CENTER, LARGEST_ORDER)
    orders = range(LARGEST_ORDER + 1)
    return TaylorData(
        x=x,
        function=bell_curve(x),
        polynomials=np.array([taylor_polynomial(coefficients[: n + 1], CENTER, x) for n in orders]),
        trusted_radii=np.array([_trusted_radius(coefficients[: n + 1]) for n in orders]),
    )


def _trusted_radius(coefficients: NDArray[np.float64]) -> float:
    radii = np.linspace(0.0, 2.5, 25_001)
    sides = np.stack([CENTER - radii, CENTER + radii])
    error = np.abs(taylor_polynomial(coefficients, CENTER, sides) - bell_curve(sides)).max(axis=0)
    broken = error > TOLERANCE
    return float(radii[broken.argmax() - 1] if broken.any() else radii[-1])


def draw(data: TaylorData) -> Figure:
    """Draw the curves, and below them a bar for the trusted interval of each order."""
    figure = Figure(figsize=(8.5, 6.2))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1.35])
    colours = mpl.colormaps["viridis"](np.linspace(0.92, 0.08, LARGEST_ORDER + 1))
    for n, (polynomial, radius) in enumerate(zip(data.polynomials, data.trusted_radii, strict=True)):
        upper.plot(data.x, polynomial, color=colours[n], linewidth=1.5, label=f"order {n}")
        lower.barh(n, 2 * radius, left=CENTER - radius, color=colours[n], height=0.7)
        lower.text(CENTER + radius + 0.05, n, f"{radius:.2f}", va="center", fontsize=8.5)
    upper.plot(data.x, data.function, color=BLACK, linewidth=2.6, label=r"$e^{-x^2}$")
    upper.plot(CENTER, bell_curve(CENTER), "o", color=BLACK, markersize=7)
    for axes in (upper, lower):
        axes.axvline(CENTER, color=GREY, linewidth=0.8, linestyle=":")
    upper.set(ylim=(-0.6, 1.6), ylabel="value", title=r"Taylor polynomials of $e^{-x^2}$ around $c = 1$")
    upper.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    lower.set(xlabel="x", ylabel="order", yticks=range(0, LARGEST_ORDER + 1, 2), xlim=(-1.5, 3.5))
    lower.set_title(f"Where the error is at most {TOLERANCE}: the region in which each can be trusted, and its radius")
    return figure

"""`learning-curves`: draw figure 6 of the lecture, returns of its algorithms and the KL of their updates."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.documents import RESULTS
from benchmarks.tables import CurvePoint, by_settings, on_windows, read_table
from tf_trpo.figures.statistics import Interval, interquartile_mean
from tf_trpo.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, VERMILION, draw_curve, styled, write

TABLE = RESULTS / "algorithms" / "curves.csv"
ENVIRONMENTS = ("CartPole-v1", "HalfCheetah-v5")
LINES = {
    "trpo": ("TRPO", BLUE, "-"),
    "natural-policy-gradient": ("natural policy gradient", GREEN, "--"),
    "kl-penalty": ("KL penalty, adapted C", ORANGE, "-."),
    "vanilla-policy-gradient": ("vanilla policy gradient", VERMILION, ":"),
    "kl-penalty-theory": ("KL penalty, C of the theory", BLACK, (0, (1, 3))),
}


@dataclasses.dataclass(frozen=True)
class LearningCurves:
    """Draw figure 6 of the lecture from the table of the suite algorithms, as PNG and SVG."""

    output_dir: Path = Path("docs/figures")
    """Folder of the figures."""

    def run(self) -> None:
        """Draw, and print the paths of the files."""
        data = compute(TABLE)
        with styled():
            figure = draw(data)
            for suffix in ("png", "svg"):
                path = self.output_dir / f"6_learning_curves.{suffix}"
                write(figure, path)
                print(path)


class Curve(NamedTuple):
    """Curves of an algorithm in an environment, over seeds.

    Attributes:
      steps: environment steps, [X].
      returns: interquartile mean and 95% bootstrap interval, [X] each; NaN until every seed has ended an episode.
      kl: mean KL of a window's updates, in nats, with 0 for a refused step; geometric mean over seeds, [X].
      largest_kl: the largest KL of an update of any seed, [X].
      seeds: number of seeds.
    """

    steps: NDArray[np.float64]
    returns: Interval
    kl: NDArray[np.float64]
    largest_kl: NDArray[np.float64]
    seeds: int


def compute(table: Path) -> dict[tuple[str, str], Curve]:
    """Compute the curves by (environment, name) from the table of the suite."""
    groups = by_settings(read_table(table, CurvePoint))
    return {(env, name): _curve(groups[env, name]) for env in ENVIRONMENTS for name in LINES}


def _curve(points: list[CurvePoint]) -> Curve:
    steps, returns = on_windows(points, "mean_return")
    # If every step of a window was refused, its KL is 0 and has no logarithm.
    log_kl = np.ma.log(np.ma.masked_invalid(on_windows(points, "kl")[1]))
    return Curve(
        steps,
        interquartile_mean(returns),
        np.ma.exp(log_kl.mean(axis=0)).filled(np.nan),
        np.ma.masked_invalid(on_windows(points, "largest_kl")[1]).max(axis=0).filled(np.nan),
        len(returns),
    )


def draw(data: dict[tuple[str, str], Curve]) -> Figure:
    """Draw a column for each environment, with returns above and KL below."""
    figure = Figure(figsize=(11.5, 7.0))
    grid = figure.subplots(2, len(ENVIRONMENTS), sharex="col", height_ratios=(3, 2))
    for (returns, kl), env in zip(grid.T, ENVIRONMENTS, strict=True):
        for name, (label, color, style) in LINES.items():
            curve = data[env, name]
            thousands = curve.steps / 1000
            draw_curve(returns, thousands, curve.returns, label=label, color=color, linestyle=style)
            kl.plot(thousands, curve.kl, color=color, linestyle=style)
            kl.plot(thousands, curve.largest_kl, color=color, linestyle=style, linewidth=0.7, alpha=0.6)
        seeds = {curve.seeds for (of_env, _), curve in data.items() if of_env == env}
        returns.set_title(f"{env}, {'/'.join(map(str, sorted(seeds)))} seeds")
        kl.set_title("What an update did to the policy")
        _label(returns, kl)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(LINES))
    return figure


def _label(returns: Axes, kl: Axes) -> None:
    returns.set(ylabel="return of the last 100 training episodes\n(interquartile mean, 95% interval)")
    returns.grid(axis="y", color=GREY, alpha=0.25)
    kl.set(
        yscale="log", xlabel="environment steps, thousands", ylabel="KL of an update, nats\n(thin: largest of any seed)"
    )
    kl.grid(axis="y", color=GREY, alpha=0.25)
    kl.margins(x=0)

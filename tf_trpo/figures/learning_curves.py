"""Figure 6: what the algorithms of the lecture learn, and the KL that each of their updates took."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tf_trpo.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, VERMILION, draw_curve
from tf_trpo.results import CurvePoint, Interval, by_settings, interquartile_mean, on_windows, read_table

TABLE = Path("algorithms") / "curves.csv"
"""Below the folder of results: what `benchmark learn --suite algorithms` writes."""
ENVIRONMENTS = ("CartPole-v1", "HalfCheetah-v5")
LINES = {
    "trpo": ("TRPO", BLUE, "-"),
    "natural-policy-gradient": ("natural policy gradient", GREEN, "--"),
    "kl-penalty": ("KL penalty, adapted C", ORANGE, "-."),
    "vanilla-policy-gradient": ("vanilla policy gradient", VERMILION, ":"),
    "kl-penalty-theory": ("KL penalty, C of the theory", BLACK, (0, (1, 3))),
}


class Curve(NamedTuple):
    """An algorithm on an environment, over seeds.

    Attributes:
      steps: environment steps, [X].
      returns: interquartile mean and 95% bootstrap interval, [X] each; NaN before every seed has ended an episode.
      kl: mean KL of the updates of a window, in nats, refused ones as 0; geometric mean over seeds, [X].
      largest_kl: the largest KL of an update of any seed, [X].
      seeds: how many.
    """

    steps: NDArray[np.float64]
    returns: Interval
    kl: NDArray[np.float64]
    largest_kl: NDArray[np.float64]
    seeds: int


def compute(results_dir: Path) -> dict[tuple[str, str], Curve]:
    """Curves by environment and name, from the table of the suite.

    Raises:
      OSError, ValueError: the table cannot be read, or lacks runs.
    """
    points = read_table(results_dir / TABLE, CurvePoint)
    points = [point for point in points if point.env in ENVIRONMENTS and point.name in LINES]
    curves = {group: _curve(of_group) for group, of_group in by_settings(points).items()}
    missing = [f"{env}/{name}" for env in ENVIRONMENTS for name in LINES if (env, name) not in curves]
    if missing:
        raise ValueError(f"{results_dir / TABLE} has no runs of {', '.join(missing)}; benchmark learn trains them")
    return curves


def _curve(points: list[CurvePoint]) -> Curve:
    steps, returns = on_windows(points, "mean_return")
    # Where every step of a window was refused there is no logarithm.
    log_kl = np.ma.log(np.ma.masked_invalid(on_windows(points, "kl")[1]))
    return Curve(
        steps,
        interquartile_mean(returns),
        np.ma.exp(log_kl.mean(axis=0)).filled(np.nan),
        np.ma.masked_invalid(on_windows(points, "largest_kl")[1]).max(axis=0).filled(np.nan),
        len(returns),
    )


def draw(data: dict[tuple[str, str], Curve]) -> Figure:
    """Returns above, KL below; a column for each environment."""
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

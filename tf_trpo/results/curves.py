"""Learning curves in windows of environment steps: of the seeds together, and of programs that log episodes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tf_trpo.results.histories import Column, Curve
from tf_trpo.results.tables import CurvePoint, learning_curve

EPISODES = 100
"""The last ones, which the mean return of training is over."""


def on_windows(points: Sequence[CurvePoint], attribute: str) -> Curve:
    """One attribute of the points of several seeds, with a row for each.

    Args:
      points: of one environment and name, at least one.
      attribute: `mean_return`, `kl` or `largest_kl`.

    Returns:
      Steps [X], rising, and values [S, X], the seeds in their order; NaN where a seed has no such window.
    """
    steps = sorted({point.steps for point in points})
    seeds = sorted({point.seed for point in points})
    by_place = {(point.seed, point.steps): point for point in points}
    rows = [[getattr(by_place.get((seed, step)), attribute, math.nan) for step in steps] for seed in seeds]
    return np.array(steps, np.float64), np.array(rows, np.float64)


def curve_of_episodes(
    ends: Column,
    returns: Column,
    env: str,
    name: str,
    seed: int,
    *,
    total_steps: int,
    points: int,
    steps_per_update: int,
) -> list[CurvePoint]:
    """The learning curve of a program that logs episodes, computed as `learning_curve` does it for runs of ours.

    Args:
      ends: environment steps taken when each episode ended, rising, [E].
      returns: of the episodes, [E].
      env, name, seed: of the run.
      total_steps: that the run was to have; it ended with the update that reached them.
      points: windows, >= 1.
      steps_per_update: environment steps between two updates, where the mean of the last 100 episodes is looked at.

    Returns:
      Points in the order of their steps, without KL.
    """
    updates = np.arange(1, math.ceil(total_steps / steps_per_update) + 1) * steps_per_update
    history = []
    for steps, ended in zip(updates, np.searchsorted(ends, updates, side="right"), strict=True):
        last = returns[max(0, ended - EPISODES) : ended]
        figures = (steps, last.mean() if ended else math.nan, math.nan)
        names = ("time/total_timesteps", "rollout/ep_rew_mean", "train/kl_divergence_loss")
        history.append(dict(zip(names, map(str, figures), strict=True)))
    return learning_curve(history, env, name, seed, total_steps=total_steps, points=points)

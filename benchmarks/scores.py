"""Compare programs over many tasks with few seeds each, by normalised scores and robust statistics.

Source:
  Agarwal et al. (2021), "Deep Reinforcement Learning at the Edge of the Statistical Precipice", section 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tf_trpo.figures.statistics import Interval

_RESAMPLES = 2000
Scores = Sequence[NDArray[np.float64]]
"""Scores of one program: for each task, the scores of its seeds [S]; numbers of seeds may differ."""


def normalized(returns: NDArray[np.float64], random: float, best: float) -> NDArray[np.float64]:
    """Scale returns so that random actions have score 0 and the best known policy has score 1."""
    return (returns - random) / (best - random)


def interquartile_mean_over_tasks(scores: Scores) -> Interval:
    """Average the middle half of the scores of all tasks, with a bootstrap interval that resamples within each task.

    Each task has the same weight, which its seeds share. With equal numbers of seeds, this is rliable's figure.
    """
    return _bootstrapped(_middle, [scores])


def probability_of_improvement(scores: Scores, others: Scores) -> Interval:
    """Estimate the probability that a run has a higher score than another program's run on the same task.

    Args:
      scores: scores of the program.
      others: scores of the other program, for the same tasks in the same order.

    Returns:
      The mean over tasks, in [0, 1], where a tie counts as one half, with a bootstrap interval.
    """
    return _bootstrapped(_improvement, [scores, others])


def performance_profile(scores: Scores, levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the fraction of runs with a score above each level, averaged over tasks, [levels]."""
    return np.mean([(task[:, None] > levels).mean(axis=0) for task in scores], axis=0)


def by_task(runs: Mapping[str, NDArray[np.float64]], ranges: Mapping[str, tuple[float, float]]) -> list[NDArray]:
    """Normalise the returns of each task by its range (random, best)."""
    return [normalized(returns, *ranges[task]) for task, returns in runs.items()]


def _middle(scores: Scores) -> NDArray[np.float64]:
    # Every run is repeated until all tasks have the same number, so that a task with more seeds does not weigh more.
    number = math.lcm(*(task.shape[-1] for task in scores))
    runs = [np.repeat(task, number // task.shape[-1], axis=-1) for task in scores]
    return stats.trim_mean(np.concatenate(runs, axis=-1), 0.25, axis=-1)


def _improvement(scores: Scores, others: Scores) -> NDArray[np.float64]:
    pairs = [np.sign(ours[..., None] - theirs[..., None, :]) for ours, theirs in zip(scores, others, strict=True)]
    return 0.5 + 0.5 * np.mean([signs.mean(axis=(-2, -1)) for signs in pairs], axis=0)


def _bootstrapped(statistic: Callable[..., NDArray[np.float64]], programs: Sequence[Scores]) -> Interval:
    """Compute a statistic, and its 95% percentile bootstrap interval with seeds resampled within each task.

    The statistic is a function of the scores of each task, [..., S].
    """
    rng = np.random.default_rng(0)
    drawn = statistic(*([rng.choice(task, (_RESAMPLES, len(task))) for task in scores] for scores in programs))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(*map(np.asarray, (statistic(*programs), low, high)))

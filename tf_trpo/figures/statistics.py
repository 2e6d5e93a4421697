"""Statistics over seeds with bootstrap confidence intervals."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats


class Interval(NamedTuple):
    """An estimate and its confidence interval, [...] each."""

    estimate: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def interquartile_mean(values: ArrayLike) -> Interval:
    """Average the middle half of the seeds, with a 95% percentile bootstrap interval over seeds.

    A quarter of the seeds, rounded down, is left out at each end. A single lucky or failed seed changes the result less
    than it changes the mean, and the result uses more seeds than the median does.

    Args:
      values: a value for each seed, [S, ...], S >= 1.

    Returns:
      An `Interval` [...]; NaN if any seed is NaN. For one seed, estimate, low and high are its value.

    Raises:
      ValueError: there is no seed.

    Source:
      Agarwal et al. (2021), "Deep Reinforcement Learning at the Edge of the Statistical Precipice", section 4.
    """
    return _bootstrapped(functools.partial(stats.trim_mean, proportiontocut=0.25), values)


def mean(values: ArrayLike) -> Interval:
    """Average the seeds, with an interval; argument, result and errors are as for `interquartile_mean`."""
    return _bootstrapped(np.mean, values)


def _bootstrapped(statistic: Callable[..., NDArray[np.float64]], values: ArrayLike) -> Interval:
    array = np.asarray(values, np.float64)
    if array.ndim == 0 or len(array) == 0:
        raise ValueError(f"values must have one entry for each seed, at least one, got shape {array.shape}")
    # NaN sorts last, and would be trimmed with the best seeds.
    unknown = np.isnan(array).any(axis=0)
    known = np.where(unknown, 0.0, array)
    estimate = low = high = statistic(known, axis=0)
    if len(array) > 1:
        rng = np.random.default_rng(0)
        found = stats.bootstrap((known,), statistic, axis=0, n_resamples=2000, method="percentile", rng=rng)
        # For equal seeds, resampled means may differ from the estimate in the last bit, in either direction.
        low, high = (
            np.where(np.isclose(end, estimate, rtol=1e-12, atol=0), estimate, end) for end in found.confidence_interval
        )
    return Interval(*(np.where(unknown, np.nan, figure) for figure in (estimate, low, high)))

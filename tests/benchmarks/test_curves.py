"""Curves of several seeds together, and those of programs that log episodes, against plain loops."""

import math

import numpy as np
import pytest

from benchmarks.tables import EPISODES, CurvePoint, curve_of_episodes, learning_curve, on_windows
from tf_trpo.training import training_report


def point(seed, steps, mean_return):
    return CurvePoint("E", "a", seed, steps, mean_return, 0.1 * seed, 0.5)


def test_a_row_for_each_seed_and_nan_where_it_has_no_window():
    points = [point(4, 20, 3.0), point(4, 10, 1.0), point(2, 20, 5.0), point(2, 30, 7.0)]
    steps, returns = on_windows(points, "mean_return")
    np.testing.assert_array_equal(steps, [10, 20, 30])
    np.testing.assert_array_equal(returns, [[np.nan, 5.0, 7.0], [1.0, 3.0, np.nan]])
    np.testing.assert_allclose(on_windows(points, "kl")[1][1], [0.4, 0.4, np.nan])


@pytest.mark.parametrize("seed", range(3))
def test_a_curve_of_episodes_is_that_of_a_run_with_the_same_episodes(seed):
    """A plain loop over the steps of training, which logs after each update as our own fit does."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 60, 400)
    ends, returns = np.cumsum(lengths).astype(float), random.normal(size=400)
    total_steps, per_update = int(ends[-1]) - 300, 128
    history, seen, steps = [], [], 0
    waiting = list(zip(ends, returns, strict=True))
    while steps < total_steps:
        steps += per_update
        while waiting and waiting[0][0] <= steps:
            seen.append(waiting.pop(0)[1])
        mean = sum(seen[-100:]) / len(seen[-100:]) if seen else math.nan
        history.append((steps, mean, 0.0))
    options = {"total_steps": total_steps, "points": 7}
    expected = learning_curve(*np.transpose(history), "E", "peer", 5, **options)
    found = curve_of_episodes(ends, returns, "E", "peer", 5, **options, steps_per_update=per_update)
    assert len(found) == 7
    assert [row[:4] for row in found] == [row[:4] for row in expected]
    np.testing.assert_allclose([row.mean_return for row in found], [row.mean_return for row in expected])
    assert all(math.isnan(row.kl) and math.isnan(row.largest_kl) for row in found)


def test_before_the_first_episode_has_ended_there_is_no_return():
    found = curve_of_episodes(
        np.array([25.0]), np.array([3.0]), "E", "peer", 0, total_steps=40, points=4, steps_per_update=10
    )
    np.testing.assert_array_equal([row.mean_return for row in found], [np.nan, np.nan, 3.0, 3.0])


def test_the_window_of_episodes_is_that_of_training():
    assert training_report._EPISODE_WINDOW == EPISODES

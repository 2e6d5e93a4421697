"""Figure 6 against small tables, and what the table in the repository says."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks import learning_curves
from benchmarks.tables import CurvePoint, write_table


def points(env, name, steps, returns, kls):
    """A point for each seed (rows) and place (columns)."""
    return [
        CurvePoint(env, name, seed, step, returns[seed][i], kls[seed][i], 2 * kls[seed][i])
        for seed in range(len(returns))
        for i, step in enumerate(steps)
    ]


@pytest.fixture
def written(tmp_path):
    """written(points): what the figure computes from a table of them, and one point for every other line."""

    def compute(rows):
        there = {row[:2] for row in rows}
        others = set(itertools.product(learning_curves.ENVIRONMENTS, learning_curves.LINES)) - there
        write_table(tmp_path / "curves.csv", [*rows, *(CurvePoint(*line, 0, 10, 1.0, 0.1, 0.1) for line in others)])
        return learning_curves.compute(tmp_path / "curves.csv")

    return compute


def test_a_curve_is_the_interquartile_mean_and_the_geometric_mean_of_its_seeds(written):
    returns = np.array([[1.0, 2.0], [3.0, 5.0], [10.0, 4.0], [100.0, 0.0]])
    kls = np.array([[0.1, 0.01], [0.1, 0.02], [0.1, 0.04], [0.2, 0.08]])
    rows = points("CartPole-v1", "trpo", [50, 100], returns, kls)
    curve = written(rows + points("Pendulum-v1", "trpo", [50, 100], returns, kls))["CartPole-v1", "trpo"]
    np.testing.assert_array_equal(curve.steps, [50, 100])
    np.testing.assert_allclose(curve.returns.estimate, stats.trim_mean(returns, 0.25))
    assert np.all(curve.returns.low <= curve.returns.estimate)
    assert np.all(curve.returns.estimate <= curve.returns.high)
    np.testing.assert_allclose(curve.kl, stats.gmean(kls))
    np.testing.assert_allclose(curve.largest_kl, [0.4, 0.16])
    assert curve.seeds == 4


def test_refused_steps_and_missing_windows_leave_gaps_in_a_seed_only(written):
    rows = points("CartPole-v1", "trpo", [50, 100], [[1.0, 2.0], [3.0, 4.0]], [[0.1, 0.0], [0.4, 0.3]])[:-1]
    rows.append(CurvePoint("CartPole-v1", "trpo", 1, 150, 5.0, 0.2, 0.2))
    curve = written(rows)["CartPole-v1", "trpo"]
    np.testing.assert_allclose(curve.kl, [0.2, np.nan, 0.2])
    np.testing.assert_allclose(curve.returns.estimate, [2.0, np.nan, np.nan])


def test_the_table_in_the_repository_shows_what_the_lecture_says():
    """Steps with the theory's C are tiny; nothing but TRPO keeps every update within its limit."""
    data = learning_curves.compute(Path(__file__).parents[2] / learning_curves.TABLE)
    assert set(data) == {(env, name) for env in learning_curves.ENVIRONMENTS for name in learning_curves.LINES}
    assert all(curve.seeds >= 5 for curve in data.values())
    for env, max_kl in zip(learning_curves.ENVIRONMENTS, (0.01, 0.03), strict=True):
        kls = {name: data[env, name] for name in learning_curves.LINES}
        assert np.nanmax(kls["kl-penalty-theory"].largest_kl) < 1e-4
        assert np.nanmax(kls["trpo"].largest_kl) <= max_kl
        for name in ("vanilla-policy-gradient", "kl-penalty", "natural-policy-gradient"):
            assert np.nanmax(kls[name].largest_kl) > max_kl

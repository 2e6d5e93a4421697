"""Tables of runs: writing and reading back, and curves against plain loops."""

import itertools
import math

import numpy as np
import pytest

from benchmarks.tables import (
    CurvePoint,
    PublishedResult,
    RunResult,
    curve_of_episodes,
    learning_curve,
    on_windows,
    read_table,
    update_table,
    write_table,
)
from tf_trpo.training import metrics

RESULTS = [
    RunResult("CartPole-v1", "trpo", 0, 100_000, 500.0, 0.0, 498.25, 3.5, 20, 61.5, "0123abc-dirty"),
    RunResult("ns/Other, v5", 'a "name"', 11, 5, -1.5, 2.0, math.nan, 1e-9, 1, math.nan, ""),
]
PUBLISHED = [PublishedResult("Hopper-v3", "some, one", "TRPO", 1_000_000, 3, "", "best", 3372.0, math.nan, "")]
POINTS = [CurvePoint("CartPole-v1", "trpo", 3, 2500, math.nan, 0.01, 0.02)]


@pytest.mark.parametrize("rows", [RESULTS, POINTS, PUBLISHED], ids=lambda rows: type(rows[0]).__name__)
def test_what_is_written_is_read_back(tmp_path, rows):
    write_table(tmp_path / "table.csv", rows)
    assert repr(read_table(tmp_path / "table.csv", type(rows[0]))) == repr(rows)
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_a_table_with_other_columns_is_refused(tmp_path):
    write_table(tmp_path / "table.csv", RESULTS)
    with pytest.raises(ValueError, match="does not have the columns env, name, seed"):
        read_table(tmp_path / "table.csv", CurvePoint)
    write_table(tmp_path / "table.csv", POINTS)
    (tmp_path / "table.csv").write_text((tmp_path / "table.csv").read_text().replace("2500", "x2500"))
    with pytest.raises(ValueError, match="x2500"):
        read_table(tmp_path / "table.csv", CurvePoint)


def test_new_rows_replace_those_of_the_same_run_and_no_others(tmp_path):
    there = [POINTS[0]._replace(seed=seed, steps=steps) for seed in (1, 2) for steps in (10, 20, 30)]
    new = [POINTS[0]._replace(seed=2, steps=15), POINTS[0]._replace(seed=3, steps=10)]
    path = tmp_path / "table.csv"
    update_table(path, there)
    assert repr(read_table(path, CurvePoint)) == repr(there)
    update_table(path, new)
    assert repr(read_table(path, CurvePoint)) == repr([*there[:3], *new])


def test_a_table_does_not_depend_on_the_order_of_training(tmp_path):
    places = itertools.product(("A", "B"), ("x", "y"), (0, 2, 10), (9, 10))
    rows = [CurvePoint(*place, math.nan, 0.01, 0.02) for place in places]
    runs = [rows[first : first + 2] for first in range(0, len(rows), 2)]
    for path, order in ((tmp_path / "backwards.csv", -1), (tmp_path / "mixed.csv", 5)):
        for place in range(len(runs)):
            update_table(path, runs[place * order % len(runs)])
        assert repr(read_table(path, CurvePoint)) == repr(rows)


def test_a_point_is_the_mean_of_the_updates_in_its_window():
    rows = [(10, math.nan, 0.1), (21, math.nan, 0.3), (25, 4.0, 0.2), (40, 6.0, math.nan), (105, 1.0, 0.0)]
    curve = learning_curve(*np.transpose(rows), "env", "name", 7, total_steps=100, points=5)
    assert [point[:4] for point in curve] == [("env", "name", 7, steps) for steps in (20, 40, 100)]
    np.testing.assert_allclose([point.mean_return for point in curve], [math.nan, 5.0, 1.0])
    np.testing.assert_allclose([point.kl for point in curve], [0.1, 0.25, 0.0])
    assert [point.largest_kl for point in curve] == [0.1, 0.3, 0.0]


def test_each_seed_has_a_row_with_nan_for_missing_windows():
    places = [(4, 20, 3.0), (4, 10, 1.0), (2, 20, 5.0), (2, 30, 7.0)]
    points = [CurvePoint("E", "a", seed, steps, value, 0.1 * seed, 0.5) for seed, steps, value in places]
    steps, returns = on_windows(points, "mean_return")
    np.testing.assert_array_equal(steps, [10, 20, 30])
    np.testing.assert_array_equal(returns, [[np.nan, 5.0, 7.0], [1.0, 3.0, np.nan]])
    np.testing.assert_allclose(on_windows(points, "kl")[1][1], [0.4, 0.4, np.nan])


@pytest.mark.parametrize("seed", range(3))
def test_a_curve_of_episodes_equals_that_of_a_run_with_the_same_episodes(seed):
    """A plain loop over the steps of training, with logs after each update, as our `fit` writes them."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 60, 400)
    lengths[0] = 3000  # There is no return before the first episode has ended.
    ends, returns = np.cumsum(lengths).astype(float), random.normal(size=400)
    total_steps, per_update = int(ends[-1]) - 300, 128
    history, seen, steps = [], [], 0
    waiting = list(zip(ends, returns, strict=True))
    while steps < total_steps:
        steps += per_update
        while waiting and waiting[0][0] <= steps:
            seen.append(waiting.pop(0)[1])
        last = seen[-metrics._EPISODE_WINDOW :]
        history.append((steps, sum(last) / len(last) if last else math.nan, 0.0))
    options = {"total_steps": total_steps, "points": 7}
    expected = learning_curve(*np.transpose(history), "E", "peer", 5, **options)
    found = curve_of_episodes(ends, returns, "E", "peer", 5, **options, steps_per_update=per_update)
    assert [row[:4] for row in found] == [row[:4] for row in expected]
    np.testing.assert_allclose([row.mean_return for row in found], [row.mean_return for row in expected])
    assert [math.isnan(row.mean_return) for row in found] == [True] + [False] * 6
    assert all(math.isnan(row.kl) and math.isnan(row.largest_kl) for row in found)

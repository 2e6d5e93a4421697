"""Tables of runs: what is written is read back, and a curve is what its windows hold."""

import math

import numpy as np
import pytest

from benchmarks.tables import (
    CurvePoint,
    PublishedResult,
    RunResult,
    by_settings,
    learning_curve,
    read_table,
    update_table,
    write_table,
)

RESULTS = [
    RunResult("CartPole-v1", "trpo", 0, 100_000, 500.0, 0.0, 498.25, 3.5, 20, 61.5, "0123abc-dirty"),
    RunResult("ns/Other, v5", 'a "name"', 11, 5, -1.5, 2.0, math.nan, 1e-9, 1, math.nan, ""),
]
PUBLISHED = [PublishedResult("Hopper-v3", "some, one", "TRPO", 1_000_000, 3, "", "best", 3372.0, math.nan, "")]
POINTS = [CurvePoint("CartPole-v1", "trpo", 3, 2500, math.nan, 0.01, 0.02)]


@pytest.mark.parametrize(("rows", "record"), [(RESULTS, RunResult), (POINTS, CurvePoint), (PUBLISHED, PublishedResult)])
def test_what_is_written_is_read_back(tmp_path, rows, record):
    write_table(tmp_path / "table.csv", rows)
    again = read_table(tmp_path / "table.csv", record)
    assert repr(again) == repr(rows)
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_numbers_are_short(tmp_path):
    write_table(tmp_path / "table.csv", [POINTS[0]._replace(kl=0.012345678901)])
    header, row = (tmp_path / "table.csv").read_text().splitlines()
    assert header == "env,name,seed,steps,mean_return,kl,largest_kl"
    assert row == "CartPole-v1,trpo,3,2500,nan,0.0123457,0.02"


def test_another_table_is_refused(tmp_path):
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
    rows = [
        POINTS[0]._replace(env=env, name=name, seed=seed, steps=steps)
        for env in ("A", "B")
        for name in ("x", "y")
        for seed in (0, 2, 10)
        for steps in (9, 10)
    ]
    runs = [rows[first : first + 2] for first in range(0, len(rows), 2)]
    for number, order in enumerate((1, -1, 5, -7)):
        path = tmp_path / f"{number}.csv"
        for place in range(len(runs)):
            update_table(path, runs[place * order % len(runs)])
        assert repr(read_table(path, CurvePoint)) == repr(rows)


def test_rows_are_grouped_by_environment_and_name():
    rows = [POINTS[0]._replace(env=env, name=name, seed=seed) for env, name, seed in [("B", "x", 1), ("A", "y", 2)] * 2]
    assert by_settings(rows) == {("A", "y"): [rows[1], rows[3]], ("B", "x"): [rows[0], rows[2]]}
    assert list(by_settings(rows)) == [("A", "y"), ("B", "x")]


def test_a_point_is_the_mean_of_the_updates_in_its_window():
    rows = [(10, math.nan, 0.1), (25, 4.0, 0.3), (26, 6.0, 0.2), (50, 8.0, math.nan), (105, 1.0, 0.0)]
    curve = learning_curve(*np.transpose(rows), "env", "name", 7, total_steps=100, points=4)
    assert [point.steps for point in curve] == [25, 50, 100]
    assert [point.mean_return for point in curve] == [4.0, 7.0, 1.0]
    assert [point.kl for point in curve] == pytest.approx([0.2, 0.2, 0.0])
    assert [point.largest_kl for point in curve] == [0.3, 0.2, 0.0]
    assert {point[:3] for point in curve} == {("env", "name", 7)}


def test_before_an_episode_has_ended_there_is_no_return():
    (point,) = learning_curve(*np.array([[1.0], [np.nan], [0.1]]), "env", "name", 0, total_steps=1, points=1)
    assert math.isnan(point.mean_return)

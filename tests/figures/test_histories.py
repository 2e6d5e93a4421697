"""Reading histories back, and interpolating curves at common steps against a loop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_trpo.figures.histories import known, on_common_steps, read_history


def written(folder, text):
    path = folder / "history.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_are_read_back_to_the_last_digit(tmp_path):
    rows = np.random.default_rng(0).normal(size=(5, 3))
    text = "\n".join(["a,b,c", *(",".join(map(repr, row)) for row in rows.tolist()), ""])
    history = read_history(written(tmp_path, text))
    assert list(history) == ["a", "b", "c"]
    np.testing.assert_array_equal(np.transpose(list(history.values())), rows)


def test_empty_cells_and_nan_are_nan(tmp_path):
    history = read_history(written(tmp_path, "a,b\nnan,1\n2,\n"))
    np.testing.assert_array_equal(history["a"], [np.nan, 2])
    np.testing.assert_array_equal(history["b"], [1, np.nan])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows yet"),
        ("a,b\n", "has no rows yet"),
        ("a,b\n1,2\n3\n", "is not whole: line 3 has 1 fields, not 2"),
        ("a,b\n1,2,3\n", "is not whole: line 2 has 3 fields, not 2"),
        ("a,b\n1,many\n", "has a cell that is not a number: .*many"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_history(written(tmp_path, text))


def test_an_incomplete_last_row_is_left_out(tmp_path):
    for half in ("3", "3,4", "3,4\r"):
        np.testing.assert_array_equal(read_history(written(tmp_path, f"a,b\r\n1,2\r\n{half}"))["b"], [2])


def test_points_without_a_value_are_left_out():
    x, y = known(np.arange(4.0), np.array([np.nan, 5.0, np.nan, 7.0]))
    np.testing.assert_array_equal((x, y), ([1, 3], [5, 7]))


def interpolated(x, y, at):
    """Linear interpolation between the neighbours, by its definition."""
    for left in range(len(x) - 1):
        if x[left] <= at <= x[left + 1]:
            return y[left] + (y[left + 1] - y[left]) * (at - x[left]) / (x[left + 1] - x[left])
    return y[0] if len(x) == 1 else None


@st.composite
def curves(draw):
    def one():
        inner = draw(st.lists(st.floats(10.0, 20.0), max_size=5))
        x = np.unique(np.array([draw(st.floats(0.0, 9.0)), *inner, draw(st.floats(21.0, 30.0))]))
        return x, np.array(draw(st.lists(st.floats(-100.0, 100.0), min_size=len(x), max_size=len(x))))

    return [one() for _ in range(draw(st.integers(1, 3)))]


@given(curves(), st.integers(2, 9))
def test_values_are_linear_between_a_curves_own_points(given_curves, points):
    grid, values = on_common_steps(given_curves, points)
    assert values.shape == (len(given_curves), points)
    assert grid[0] == max(x[0] for x, _ in given_curves)
    assert grid[-1] == min(x[-1] for x, _ in given_curves)
    np.testing.assert_allclose(np.diff(grid), (grid[-1] - grid[0]) / (points - 1))
    for (x, y), row in zip(given_curves, values, strict=True):
        # At the ends, rounding may lead slightly beyond the curve.
        expected = [interpolated(x, y, min(max(at, x[0]), x[-1])) for at in grid]
        np.testing.assert_allclose(row, expected, atol=1e-6)


def test_runs_without_common_steps_are_refused():
    ends, begins = (np.array([1.0, 2.0]), np.zeros(2)), (np.array([3.0, 4.0]), np.zeros(2))
    with pytest.raises(ValueError, match="no steps in common: one ends at 2, another begins at 3"):
        on_common_steps([ends, begins], 5)

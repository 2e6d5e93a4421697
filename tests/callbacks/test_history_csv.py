"""The CSV file of the logs, read back by the csv module."""

import csv
import math

from tf_trpo.callbacks import HistoryCSV


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(path, *logs):
    callback = HistoryCSV(path)
    callback.on_train_begin()
    for epoch, figures in enumerate(logs):
        callback.on_epoch_end(epoch, figures)
    callback.on_train_end(logs[-1])


def test_a_row_an_iteration_with_the_figures_as_columns(tmp_path):
    path = tmp_path / "history.csv"
    write(path, {"steps": 10, "train/kl": 0.1}, {"steps": 20, "train/kl": 1 / 3})
    assert list(rows(path)[0]) == ["steps", "train/kl"]
    # Written in full: the numbers come back to the last digit.
    assert [(int(row["steps"]), float(row["train/kl"])) for row in rows(path)] == [(10, 0.1), (20, 1 / 3)]


def test_nan_comes_back_as_nan(tmp_path):
    path = tmp_path / "history.csv"
    write(path, {"return": math.nan}, {"return": 2.5})
    assert math.isnan(float(rows(path)[0]["return"]))
    assert float(rows(path)[1]["return"]) == 2.5


def test_the_first_iteration_says_which_columns_there_are(tmp_path):
    path = tmp_path / "history.csv"
    write(path, {"a": 1, "b": 2}, {"b": 3, "late": 4}, {"b": 5, "a": 6})
    assert rows(path) == [{"a": "1", "b": "2"}, {"a": "", "b": "3"}, {"a": "6", "b": "5"}]


def test_rows_are_there_at_once(tmp_path):
    path = tmp_path / "history.csv"
    callback = HistoryCSV(path)
    callback.on_train_begin()
    for epoch in range(3):
        callback.on_epoch_end(epoch, {"steps": epoch})
        assert [row["steps"] for row in rows(path)] == [str(number) for number in range(epoch + 1)]
    callback.on_train_end()


def test_another_training_writes_the_file_anew(tmp_path):
    path = tmp_path / "history.csv"
    callback = HistoryCSV(path)
    for name in ("first", "second"):
        callback.on_train_begin()
        callback.on_epoch_end(0, {name: 1})
        callback.on_train_end()
    assert rows(path) == [{"second": "1"}]

"""The CSV file of the logs, read back by the csv module."""

import csv

import keras
import pytest

from tf_trpo.callbacks import HistoryCSV


class StandIn:
    def __init__(self, iterations):
        self.iterations = keras.Variable(iterations)


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(path, *logs, iterations=None):
    callback = HistoryCSV(path, append=iterations is not None)
    callback.set_model(StandIn(iterations or 0))
    callback.on_train_begin()
    for epoch, figures in enumerate(logs):
        callback.on_epoch_end(epoch, figures)
        # Rows are written immediately.
        assert list(rows(path)[-1].values()) == [str(figures.get(name, "")) for name in rows(path)[-1]]
    callback.on_train_end(logs[-1] if logs else {})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "history.csv"


def test_each_iteration_is_a_row_with_the_figures_to_the_last_digit(path):
    write(path, {"steps": 10, "train/kl": 0.1}, {"steps": 20, "train/kl": 1 / 3})
    assert list(rows(path)[0]) == ["steps", "train/kl"]
    assert [(int(row["steps"]), float(row["train/kl"])) for row in rows(path)] == [(10, 0.1), (20, 1 / 3)]


def test_figures_may_be_missing_and_may_appear_later(path):
    write(path, {"a": 1, "b": 2}, {"b": 3, "late": 4}, {"b": 5, "a": 6}, {"later, with a comma": 7})
    assert rows(path) == [
        {"a": "1", "b": "2", "late": "", "later, with a comma": ""},
        {"a": "", "b": "3", "late": "4", "later, with a comma": ""},
        {"a": "6", "b": "5", "late": "", "later, with a comma": ""},
        {"a": "", "b": "", "late": "", "later, with a comma": "7"},
    ]


def test_another_training_replaces_the_file(path):
    write(path, {"first": 1})
    write(path, {"second": 2})
    assert rows(path) == [{"second": "2"}]


def iteration(number, **figures):
    return {"time/iterations": number, **figures}


@pytest.mark.parametrize("cut", ["", "1", "4,", "4,0."])
def test_a_resumed_training_continues_after_the_rows_of_finished_iterations(path, cut):
    write(path, *(iteration(number, a=number / 10) for number in (1, 2, 3)))
    with open(path, "a", encoding="utf-8") as file:
        # The process was killed while it wrote: "1" may be a part of 12.
        file.write(cut)
    write(path, iteration(3, a=7.5, b=8), iterations=2)
    assert rows(path) == [
        {"time/iterations": "1", "a": "0.1", "b": ""},
        {"time/iterations": "2", "a": "0.2", "b": ""},
        {"time/iterations": "3", "a": "7.5", "b": "8"},
    ]
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_resumed_training_without_a_file_begins_a_new_one(path):
    write(path, iteration(5, a=1), iterations=4)
    assert rows(path) == [{"time/iterations": "5", "a": "1"}]

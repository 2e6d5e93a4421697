"""When the checkpoint callback writes, and when it does not."""

import pytest
import tensorflow as tf

from tf_trpo.callbacks import Checkpoint
from tf_trpo.callbacks.every_steps import EverySteps


class StandIn:
    """What a checkpoint needs of an agent; keeps the steps at which it was saved."""

    def __init__(self, steps=0):
        self.env_steps = tf.Variable(steps, dtype=tf.int64)
        self.saved = []
        self.checked = []
        self.full = False

    def check_checkpoints(self, directory):
        self.checked.append((directory, int(self.env_steps)))

    def save_checkpoint(self, directory, keep):
        if self.full:
            raise OSError("full")
        self.saved.append((directory, int(self.env_steps), keep))


def saved_at(callback, start, *step_counts, end=True):
    model = StandIn(start)
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, steps in enumerate(step_counts):
        model.env_steps.assign(steps)
        callback.on_epoch_end(epoch, {})
    if end:
        callback.on_train_end()
    return [steps for _, steps, _ in model.saved]


def test_it_writes_when_a_multiple_was_passed_and_in_the_end():
    steps = (60, 99, 100, 150, 199, 260, 350, 360)
    assert saved_at(Checkpoint("d", 100), 0, *steps, end=False) == [100, 260, 350]
    assert saved_at(Checkpoint("d", 100), 0, *steps) == [100, 260, 350, 360]


def test_the_end_is_written_once():
    assert saved_at(Checkpoint("d", 100), 0, 60, 100) == [100]


def test_a_resumed_training_writes_where_the_whole_one_would_have():
    assert saved_at(Checkpoint("d", 100), 150, 199, 260, 350, end=False) == [260, 350]


def test_folder_and_number_to_keep_are_handed_on():
    callback = Checkpoint("d", 1, keep=7)
    callback.set_model(StandIn())
    callback.on_train_end()
    assert callback.model.saved == [("d", 0, 7)]


def test_without_a_number_of_steps_the_end_only_is_written():
    assert saved_at(Checkpoint("d", None), 0, 60, 1000, end=False) == []
    assert saved_at(Checkpoint("d", None), 0, 60, 1000) == [1000]


def test_the_start_is_written_when_it_is_asked_for():
    assert saved_at(Checkpoint("d", 100, at_start=True), 7, 60, 110, end=False) == [7, 110]


def test_the_folder_is_checked_before_training():
    callback = Checkpoint("d", 1)
    callback.set_model(StandIn(5))
    callback.on_train_begin()
    assert callback.model.checked == [("d", 5)]


def test_a_write_that_failed_is_tried_again_when_training_fails():
    callback = Checkpoint("d", 10)
    callback.set_model(StandIn())
    callback.on_train_begin()
    callback.model.env_steps.assign(10)
    callback.model.full = True
    with pytest.raises(OSError, match="full"):
        callback.on_epoch_end(0)
    callback.model.full = False
    callback.save_on_failure()
    callback.save_on_failure()
    assert callback.model.saved == [("d", 10, 2)]


@pytest.mark.parametrize(("every_steps", "keep"), [(0, 1), (-1, 1), (1, 0)])
def test_numbers_out_of_range_are_refused(every_steps, keep):
    with pytest.raises(ValueError, match="must be at least 1"):
        Checkpoint("d", every_steps, keep=keep)


@pytest.mark.parametrize("start", [0, 7, 100, 101])
def test_every_multiple_is_passed_once(start):
    every = EverySteps(10)
    every.start(start)
    reached = [total for total in range(start + 1, start + 41) if every.reached(total)]
    assert reached == [total for total in range(start + 1, start + 41) if total % 10 == 0]

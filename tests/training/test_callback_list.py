"""Callbacks as they may be given, and the history that they do not see."""

import math

import keras
import numpy as np
import pytest

from tf_trpo.training.callback_list import EvenHistory, list_of

ONE = keras.callbacks.TerminateOnNaN()


@pytest.mark.parametrize(
    ("given", "found"), [(None, []), ((), []), (ONE, [ONE]), ([ONE], [ONE]), ((ONE, ONE), [ONE] * 2)]
)
def test_callbacks_are_given_as_keras_takes_them(given, found):
    assert list_of(given) == found


def test_other_objects_are_no_callbacks():
    with pytest.raises(TypeError, match=r"callbacks must be .*, got 3"):
        list_of(3)


@pytest.mark.parametrize(
    "make",
    [
        keras.callbacks.EarlyStopping,
        keras.callbacks.ReduceLROnPlateau,
        lambda monitor, **mode: keras.callbacks.ModelCheckpoint("best.keras", monitor, save_best_only=True, **mode),
    ],
)
def test_a_monitored_figure_needs_a_direction_unless_it_is_a_loss(make):
    assert list_of([make(monitor="val_loss"), make(monitor="rollout/ep_rew_mean", mode="max")])
    with pytest.raises(ValueError, match=r'monitors eval/mean_reward, of which .* mode="max" or mode="min"'):
        list_of([make(monitor="eval/mean_reward")])


def test_the_history_has_a_number_for_each_epoch_and_figure():
    history = EvenHistory()
    history.set_model(keras.Sequential())
    history.on_train_begin()
    for epoch, logs in enumerate([{"a": 1}, {"a": 2, "late": 5}, {}, {"late": 6}], start=7):
        history.on_epoch_end(epoch, logs)
    np.testing.assert_equal(history.history, {"a": [1, 2, math.nan, math.nan], "late": [math.nan, 5, math.nan, 6]})
    assert history.epoch == [7, 8, 9, 10]

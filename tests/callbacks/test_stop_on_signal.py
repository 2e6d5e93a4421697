"""Signals end training between two iterations; outside of the main thread, no handlers are set."""

import concurrent.futures
import os
import signal
from types import SimpleNamespace

import pytest

from tf_trpo.callbacks import StopOnSignal


def handlers():
    return [signal.getsignal(number) for number in StopOnSignal.SIGNALS]


@pytest.mark.parametrize("number", StopOnSignal.SIGNALS)
def test_the_first_signal_ends_training_after_the_iteration_and_the_second_immediately(number, capsys):
    before, callback, model = handlers(), StopOnSignal(), SimpleNamespace(stop_training=False)
    callback.set_model(model)
    callback.set_params({})
    callback.on_train_begin()
    os.kill(os.getpid(), number)
    assert (callback.received, model.stop_training) == (number, False)
    assert f"{number.name}: finishing the iteration" in capsys.readouterr().err
    callback.on_epoch_end(0)
    assert model.stop_training
    assert callback.params == {"interrupted": True}
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)
    callback.release()
    assert handlers() == before


def test_a_signal_whose_message_nobody_reads_is_received(unread):
    callback = StopOnSignal()
    callback.on_train_begin()
    try:
        with unread():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        callback.release()
    assert callback.received == signal.SIGINT


def test_the_last_signal_is_the_one_received():
    callback = StopOnSignal()
    callback.set_model(SimpleNamespace(stop_training=False))
    callback.set_params({})
    callback.on_train_begin()
    try:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        callback.release()
    assert callback.received == signal.SIGTERM


def test_in_another_thread_there_are_no_handlers_and_no_error():
    before, callback = handlers(), StopOnSignal()
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        thread.submit(callback.on_train_begin).result()
        assert handlers() == before
        thread.submit(callback.release).result()
    assert handlers() == before

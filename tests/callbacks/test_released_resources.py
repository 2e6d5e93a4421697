"""A training that is broken off gives back the terminal and closes its files."""

import io

import keras
import pytest
from rich.console import Console

import tf_trpo
from tf_trpo.callbacks import HistoryCSV, Progress, TensorBoard
from tf_trpo.models.settings import PolicySettings


class Interrupted(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.train_ended = False

    def on_epoch_end(self, epoch, logs=None):
        raise KeyboardInterrupt

    def on_train_end(self, logs=None):
        self.train_ended = True


def test_files_and_terminal_are_given_back_and_training_does_not_count_as_complete(tmp_path):
    output = io.StringIO()
    progress = Progress(Console(file=output, force_terminal=True))
    table, board, interrupted = HistoryCSV(tmp_path / "history.csv"), TensorBoard(tmp_path / "board"), Interrupted()
    agent = tf_trpo.TRPO.for_env("CartPole-v1", policy=PolicySettings(hidden_sizes=(4,)), seed=0)
    agent.compile(jit_compile=False)
    with pytest.raises(KeyboardInterrupt):
        agent.fit("CartPole-v1", 100, num_steps=10, callbacks=[progress, table, board, interrupted], verbose=0)
    hide, show = "\x1b[?25l", "\x1b[?25h"
    assert output.getvalue().count(hide) == output.getvalue().count(show) == 1
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 2
    with pytest.raises(OSError, match="closed"):
        board._file.add(0, [])
    assert not interrupted.train_ended

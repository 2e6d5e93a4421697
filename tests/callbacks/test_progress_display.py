"""The display of progress: lines in a file, a live table on a terminal."""

import errno
import itertools
import re
import sys
from io import StringIO
from types import SimpleNamespace

import pytest
import tensorflow as tf
from rich.console import Console

from tf_trpo.callbacks import Progress


def figures(steps):
    return {
        "rollout/ep_rew_mean": 12.34,
        "rollout/ep_len_mean": 56.0,
        "time/total_timesteps": steps,
        "time/fps": 789.0,
        "train/kl_divergence_loss": 0.0091,
        "train/backtracks": 2.0,
        "train/improvement_ratio": 0.95,
        "train/explained_variance": 0.123,
    }


def begun(console, steps=0, interval=0.0):
    callback = Progress(console, interval=interval)
    callback.set_model(SimpleNamespace(env_steps=tf.Variable(steps)))
    callback.set_params({"total_steps": 1000})
    return callback


def shown(console, *logs, **options):
    callback = begun(console, **options)
    callback.on_train_begin({})
    for epoch, of_epoch in enumerate(logs):
        callback.on_epoch_end(epoch, of_epoch)
    callback.on_train_end(logs[-1] if logs else {})
    return callback._console.file.getvalue()


def plain():
    return Console(file=StringIO())


def terminal():
    return Console(force_terminal=True, file=StringIO(), width=120)


def test_without_a_terminal_there_are_lines_without_control_codes():
    text = shown(plain(), figures(100), figures(250))
    # One line each, and the last state once more at the end; long lines are not wrapped.
    assert [line.split()[1] for line in text.splitlines()] == ["100/1000", "250/1000", "250/1000"]
    assert "\x1b" not in text
    assert text.splitlines()[0] == (
        "steps 100/1000  return 12.3  length 56  kl 0.0091  explained variance 0.12  789 steps/s"
    )


def test_returns_of_small_rewards_do_not_look_like_0():
    assert "return -1.5e-06  length" in shown(plain(), figures(100) | {"rollout/ep_rew_mean": -1.5e-6})


def test_lines_come_no_more_often_than_the_interval():
    text = shown(plain(), *(figures(steps) for steps in range(100, 1100, 100)), interval=3600.0)
    assert [line.split()[1] for line in text.splitlines()] == ["100/1000", "1000/1000"]


def test_lines_show_the_remaining_time_as_soon_as_it_is_known():
    callback = begun(plain())
    # A hundred steps per second.
    clock = itertools.count()
    callback._bar.get_time = lambda: next_second
    next_second = next(clock)
    callback.on_train_begin({})
    for steps in (100, 200, 1000):
        next_second = next(clock)
        callback.on_epoch_end(0, figures(steps))
    first, second, last = callback._console.file.getvalue().splitlines()
    assert "left" not in first
    assert second.endswith("  789 steps/s  0:00:08 left")
    assert last.endswith("  0:00:00 left")


def test_the_last_line_explains_more_steps_than_were_asked_for():
    first, last = shown(plain(), figures(1024)).splitlines()
    assert first.startswith("steps 1024/1000")
    assert not first.endswith(")")
    assert last.endswith("  (an iteration is trained to its end)")


def test_without_an_iteration_nothing_is_printed():
    assert shown(plain()) == ""


def test_a_terminal_shows_figures_and_progress_and_its_cursor_is_restored():
    text = shown(terminal(), figures(100), figures(250))
    assert text.count("\x1b[?25l") == 1
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert re.search(r"mean episode return\s+12\.34", text)
    assert re.search(r"mean KL of the step\s+0\.0091", text)
    assert re.search(r"steps per second\s+789", text)
    assert "250/1000" in text.replace(" ", "")


def test_the_bar_continues_from_earlier_steps_and_ends_full():
    assert "400/1000" in shown(terminal(), steps=400).replace(" ", "")
    assert "1000/1000" in shown(terminal(), figures(1024)).replace(" ", "")


def test_figures_that_do_not_exist_are_left_out_of_a_line_and_dots_on_a_terminal():
    known = {name: figure for name, figure in figures(100).items() if not name.startswith(("rollout/", "train/ex"))}
    assert shown(plain(), known).splitlines()[0] == "steps 100/1000  no episode has ended yet  kl 0.0091  789 steps/s"
    assert re.search(r"mean episode return\s+\.\.\.", shown(terminal(), known))


def test_lines_that_nobody_reads_do_not_end_the_training(unread):
    with unread():
        callback = begun(None)
        callback.on_train_begin({})
        for steps in (100, 200):
            callback.on_epoch_end(0, figures(steps))
        callback.on_train_end(figures(200))


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_display_that_cannot_be_written_does_not_end_the_training(is_terminal, monkeypatch):
    class Full(StringIO):
        writes = 0

        def isatty(self):
            return is_terminal

        def write(self, text):
            self.writes += 1
            raise OSError(errno.ENOSPC, "No space left on device")

    full = Full()
    monkeypatch.setattr(sys, "stderr", full)
    assert shown(None, figures(100), figures(200)) == ""
    assert full.writes

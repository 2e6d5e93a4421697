"""All callbacks together in a short training: their output agrees with the logs."""

import contextlib
import csv
import io
import itertools
import os
import signal
from types import SimpleNamespace

import gymnasium as gym
import keras
import numpy as np
import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

from tf_trpo.callbacks import Checkpoint, Evaluate, HistoryCSV, Progress, StopOnSignal, TensorBoard
from tf_trpo.figures.charts import CHARTS, FIGURES

ITERATIONS = 4
SIZES = {"num_envs": 2, "num_steps": 12}


def cartpole():
    return gym.make("CartPole-v1", max_episode_steps=30)


class Recorder(keras.callbacks.Callback):
    """Keeps the logs of every iteration."""

    def __init__(self):
        super().__init__()
        self.logs = []

    def on_epoch_end(self, epoch, logs=None):
        self.logs.append(dict(logs))


@pytest.fixture(scope="module")
def trained(small_agent):
    """trained(callbacks): an agent after one iteration in which no episode has ended."""

    def train(callbacks):
        agent = small_agent(cartpole)
        agent.fit(cartpole, 24, callbacks=callbacks, verbose=0, **SIZES)
        return agent

    return train


def continued(agent, callbacks):
    # The row after the end of an episode is not a step.
    return agent.fit(cartpole, 24 * ITERATIONS - 22, callbacks=callbacks, verbose=0, **SIZES).history


@pytest.fixture(scope="module")
def run(tmp_path_factory, trained):
    """The folder, the agent, the history and the logs of a training with all callbacks, and of the iteration before."""
    folder, recorder, first = tmp_path_factory.mktemp("run"), Recorder(), Recorder()
    callbacks = [
        Evaluate(cartpole, 60, episodes=2),
        TensorBoard(folder / "tensorboard", histogram_every=30),
        HistoryCSV(folder / "history.csv"),
        recorder,
        Checkpoint(folder / "checkpoints", 60, keep=1),
    ]
    agent = trained([first])
    history = continued(agent, callbacks)
    return SimpleNamespace(folder=folder, agent=agent, history=history, logs=recorder.logs, before=first.logs)


@pytest.fixture(scope="module")
def alone(trained):
    """The agent after the same training without callbacks, and the history."""
    agent = trained([])
    return agent, continued(agent, [])


@pytest.fixture(scope="module")
def events(run):
    """{tag: {step: array}} of the event files, and the tags of scalars."""
    read = EventAccumulator(str(run.folder / "tensorboard"), size_guidance={"tensors": 0}).Reload()
    tags = read.Tags()["tensors"]
    scalars = [tag for tag in tags if read.SummaryMetadata(tag).plugin_data.plugin_name == "scalars"]
    arrays = {
        tag: {event.step: tensor_util.make_ndarray(event.tensor_proto) for event in read.Tensors(tag)} for tag in tags
    }
    return arrays, scalars


def test_scalars_are_the_logs_over_environment_steps(run, events):
    arrays, scalars = events
    logs = run.logs
    assert len(logs) == ITERATIONS
    expected = {}
    for figures in logs:
        for name, figure in figures.items():
            if name != "time/total_timesteps":
                expected.setdefault(name, {})[int(figures["time/total_timesteps"])] = figure
    assert set(scalars) == set(expected)
    for name, points in expected.items():
        assert {step: value.item() for step, value in arrays[name].items()} == pytest.approx(points, rel=1e-6), name


def test_every_displayed_figure_is_in_the_logs_and_none_is_nan(run):
    charted = {tag for charts in CHARTS.values() for tags in charts.values() for tag in tags}
    # CartPole's actions have no standard deviation.
    assert {*FIGURES, *charted} - {"train/std"} <= set(run.history)
    assert {"train/policy_objective", "train/cg_status", "train/line_search_status"} <= set(run.history)
    assert all(np.isfinite(figure) for figures in run.logs for figure in figures.values())


def test_steps_and_histograms_count_the_valid_rows_of_their_iteration_only(run, events):
    steps = [24, *(int(figures["time/total_timesteps"]) for figures in run.logs)]
    taken = {later: later - earlier for earlier, later in itertools.pairwise(steps)}
    assert max(taken.values()) <= 24
    assert sum(taken.values()) < 24 * ITERATIONS, "no episode ended: nothing was tested"
    counts = {step: histogram[:, 2].sum() for step, histogram in events[0]["actions/0"].items()}
    assert counts == {step: taken[step] for step in counts}
    assert len(counts) >= 2


def test_the_csv_file_is_the_logs_with_empty_cells(run):
    with open(run.folder / "history.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [{name: float(cell) for name, cell in row.items() if cell} for row in rows] == run.logs
    assert set(rows[0]) == set(run.history)


def test_evaluations_come_every_60_steps_with_one_reward_per_step(run):
    steps = [24, *(figures["time/total_timesteps"] for figures in run.logs)]
    expected = [later // 60 > earlier // 60 for earlier, later in itertools.pairwise(steps)]
    assert ["eval/mean_reward" in figures for figures in run.logs] == expected
    # The first iteration has no evaluation, so that columns and scalars appear later.
    assert expected[:2] == [False, True]
    assert run.history["eval/mean_reward"] == run.history["eval/mean_ep_length"]


def test_the_checkpoint_is_of_the_end_of_training(run):
    [path] = (run.folder / "checkpoints").iterdir()
    assert path.name == f"steps-{int(run.logs[-1]['time/total_timesteps']):012d}.ckpt"


def test_callbacks_do_not_change_what_is_learnt(run, alone):
    for weight, expected in zip(run.agent.weights, alone[0].weights, strict=True):
        np.testing.assert_array_equal(weight, expected)
    np.testing.assert_array_equal(run.history["train/value_loss"], alone[1]["train/value_loss"])


def test_a_figure_is_absent_until_it_exists(run):
    assert ["rollout/ep_rew_mean" in figures for figures in run.before] == [False]


@pytest.mark.parametrize("verbose", [0, 1])
def test_progress_is_printed_unless_verbose_is_0(alone, capsys, verbose):
    alone[0].fit(cartpole, 24, verbose=verbose, **SIZES)
    captured = capsys.readouterr()
    assert ("steps/s" in captured.err) == bool(verbose)
    assert captured.out == ""


def test_an_evaluation_in_the_training_environments_is_refused_before_the_first_rollout(trained):
    agent, vector = trained([]), gym.vector.SyncVectorEnv([cartpole] * 2)
    steps = int(agent.env_steps.numpy())
    with pytest.raises(ValueError, match="in use by a fit or an evaluation that has not ended"):
        agent.fit(vector, 48, num_steps=12, callbacks=[Evaluate(vector, 40, episodes=2)], verbose=0)
    assert int(agent.env_steps.numpy()) == steps
    agent.fit(vector, 24, num_steps=12, verbose=0)
    assert agent.evaluate(vector, 2)["episodes"] == 2

    class Meddler(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            vector.reset()

    with pytest.raises(RuntimeError, match="reset of an environment that a fit or an evaluation"):
        agent.fit(vector, 48, num_steps=12, callbacks=[Meddler()], verbose=0)
    vector.close()
    with pytest.raises(ValueError, match="the vector environment is closed"):
        agent.fit(vector, 48, num_steps=12, verbose=0)


def test_an_evaluation_in_an_environment_of_other_spaces_is_refused_before_the_first_rollout(trained):
    agent = trained([])
    steps = int(agent.env_steps.numpy())
    with pytest.raises(ValueError, match="the agent observes"):
        agent.fit(cartpole, 24, callbacks=[Evaluate("Pendulum-v1", 40)], verbose=0, **SIZES)
    assert int(agent.env_steps.numpy()) == steps


class Held(keras.callbacks.Callback):
    """Holds something, and records in which order the methods of several are called."""

    def __init__(self, name, calls, *, fails=False):
        super().__init__()
        self.name, self.calls, self.fails = name, calls, fails

    def on_train_end(self, logs=None):
        self.calls.append(f"{self.name} ends")
        if self.fails:
            raise OSError("the disk is full")

    def release(self):
        self.calls.append(f"{self.name} is released")


@pytest.mark.parametrize("fails", [False, True])
def test_callbacks_are_released_after_the_last_has_ended_even_if_one_fails(trained, fails):
    """Signal handlers, the first callback's, then also cover a long last film or checkpoint."""
    calls = []
    with pytest.raises(OSError, match="disk is full") if fails else contextlib.nullcontext():
        trained([Held("first", calls), Held("second", calls, fails=fails)])
    assert calls == ["first ends", "second ends", "second is released", "first is released"]


def test_an_interrupted_training_has_its_checkpoint_before_other_callbacks_end(small_agent, tmp_path):
    found = []

    class Stops(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                os.kill(os.getpid(), signal.SIGTERM)

        def on_train_end(self, logs=None):
            found.extend(path.name for path in tmp_path.iterdir())

    agent = small_agent(cartpole)
    agent.fit(cartpole, 240, callbacks=[Stops(), StopOnSignal(), Checkpoint(tmp_path, None)], verbose=0, **SIZES)
    assert found == [f"steps-{int(agent.env_steps):012d}.ckpt"]


@pytest.mark.parametrize("every_steps", [None, 1])
def test_the_checkpoint_of_a_training_that_is_stopped_has_the_weights_that_early_stopping_restores(
    every_steps, small_agent, tmp_path
):
    agent = small_agent(cartpole)
    early = keras.callbacks.EarlyStopping("time/iterations", mode="min", patience=1, restore_best_weights=True)
    agent.fit(cartpole, 240, callbacks=[early, Checkpoint(tmp_path, every_steps)], verbose=0, **SIZES)
    # The steps are restored, too.
    assert [path.name for path in tmp_path.iterdir()] == [f"steps-{int(agent.env_steps):012d}.ckpt"]
    other = small_agent(cartpole)
    other.fit(cartpole, int(agent.env_steps), resume_from=tmp_path, verbose=0, **SIZES)
    for one, another in zip(agent.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, another)


class Interrupted(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.train_ended = False

    def on_epoch_end(self, epoch, logs=None):
        raise KeyboardInterrupt

    def on_train_end(self, logs=None):
        self.train_ended = True


def test_files_and_terminal_are_released_and_training_does_not_count_as_complete(trained, tmp_path):
    output = io.StringIO()
    progress = Progress(Console(file=output, force_terminal=True))
    table, board, interrupted = HistoryCSV(tmp_path / "history.csv"), TensorBoard(tmp_path / "board"), Interrupted()
    with pytest.raises(KeyboardInterrupt):
        trained([progress, table, board, interrupted])
    hide, show = "\x1b[?25l", "\x1b[?25h"
    assert output.getvalue().count(hide) == output.getvalue().count(show) == 1
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 2
    with pytest.raises((OSError, ValueError), match="closed"):
        board._file.add(0, [])
    assert not interrupted.train_ended

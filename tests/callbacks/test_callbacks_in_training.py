"""All callbacks together in a short training: what they write agrees with the history."""

import csv
import itertools
import math

import gymnasium as gym
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

import tf_trpo
from tf_trpo.callbacks import Checkpoint, Evaluate, HistoryCSV, TensorBoard
from tf_trpo.models.settings import PolicySettings, ValueSettings
from tf_trpo.training.settings import UpdateSettings

ITERATIONS = 4


def cartpole():
    return gym.make("CartPole-v1", max_episode_steps=30)


def trained(callbacks):
    small = {"policy": PolicySettings(hidden_sizes=(4,)), "value": ValueSettings(value_hidden_sizes=(4,))}
    agent = tf_trpo.TRPO.for_env(cartpole, **small, seed=0)
    agent.compile(update=UpdateSettings(value_epochs=1), jit_compile=False)
    # 12 rows: no episode is over within the first iteration.
    history = agent.fit(cartpole, ITERATIONS * 12 * 2 - 8, num_envs=2, num_steps=12, callbacks=callbacks, verbose=0)
    return agent, history.history


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    callbacks = [
        Evaluate(cartpole, 40, episodes=2),
        TensorBoard(folder / "tensorboard", histogram_every=30),
        HistoryCSV(folder / "history.csv"),
        Checkpoint(folder / "checkpoints", 40, keep=1),
    ]
    agent, history = trained(callbacks)
    return folder, agent, history


@pytest.fixture(scope="module")
def alone():
    """Without callbacks: the agent, the history, and the weights at the end of it."""
    agent, history = trained([])
    return agent, history, [weight.numpy() for weight in agent.weights]


@pytest.fixture(scope="module")
def scalars(run):
    events = EventAccumulator(str(run[0] / "tensorboard"), size_guidance={"tensors": 0}).Reload()
    return {
        tag: {event.step: tensor_util.make_ndarray(event.tensor_proto).item() for event in events.Tensors(tag)}
        for tag in events.Tags()["tensors"]
        if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars"
    }


def test_the_expected_tags_are_written(scalars):
    assert {
        "rollout/ep_rew_mean",
        "rollout/ep_len_mean",
        "time/fps",
        "time/iterations",
        "train/kl_divergence_loss",
        "train/policy_objective",
        "train/is_line_search_success",
        "train/explained_variance",
        "train/value_loss",
        "train/entropy",
        "train/cg_status",
        "train/line_search_status",
        "train/improvement_ratio",
        "bound/improvement",
        "eval/mean_reward",
        "eval/mean_ep_length",
    } <= set(scalars)
    assert "time/total_timesteps" not in scalars


def test_scalars_are_the_history_over_environment_steps(run, scalars):
    history = run[2]
    steps = history["time/total_timesteps"]
    assert len(steps) == ITERATIONS
    for name, values in history.items():
        known = {step: value for step, value in zip(steps, values, strict=True) if not math.isnan(value)}
        if name != "time/total_timesteps":
            assert scalars.get(name, {}) == pytest.approx(known, rel=1e-6), name


def test_steps_count_the_valid_rows_only(run):
    steps = run[2]["time/total_timesteps"]
    taken = np.diff([0, *steps])
    assert (taken <= 24).all()
    assert steps[-1] < ITERATIONS * 24, "no episode ended: nothing was tested"


def test_histograms_count_the_actions_of_the_last_iteration(run):
    folder, agent, history = run
    assert agent.rollout is None
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"tensors": 0}).Reload()
    steps = [0, *history["time/total_timesteps"]]
    counts = {
        event.step: tensor_util.make_ndarray(event.tensor_proto)[:, 2].sum() for event in events.Tensors("actions/0")
    }
    taken = {int(later): later - earlier for earlier, later in itertools.pairwise(steps)}
    assert counts == {step: taken[step] for step in counts}
    assert len(counts) >= 2


def test_the_csv_file_is_the_history(run):
    folder, _, history = run
    with open(folder / "history.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(history)
    for name, values in history.items():
        np.testing.assert_array_equal([float(row[name]) for row in rows], values, err_msg=name)


def test_evaluations_come_every_40_steps(run):
    history = run[2]
    last, expected = 0, []
    for steps in history["time/total_timesteps"]:
        expected.append(steps // 40 > last // 40)
        last = steps
    assert [not math.isnan(value) for value in history["eval/mean_reward"]] == expected
    assert True in expected
    assert False in expected


def test_an_evaluation_pays_a_reward_a_step(run):
    history = run[2]
    np.testing.assert_array_equal(history["eval/mean_reward"], history["eval/mean_ep_length"])


def test_the_checkpoint_is_of_the_end(run):
    folder, _, history = run
    [path] = (folder / "checkpoints").iterdir()
    assert path.name == f"steps-{int(history['time/total_timesteps'][-1]):012d}"


def test_callbacks_do_not_change_what_is_learnt(run, alone):
    _, agent, history = run
    _, history_alone, weights_alone = alone
    for weight, expected in zip(agent.weights, weights_alone, strict=True):
        np.testing.assert_array_equal(weight, expected)
    np.testing.assert_array_equal(history["train/value_loss"], history_alone["train/value_loss"])


@pytest.mark.parametrize("verbose", [0, 1])
def test_progress_is_shown_unless_it_is_not_wanted(alone, capsys, verbose):
    alone[0].fit(cartpole, 24, num_envs=2, num_steps=12, verbose=verbose)
    captured = capsys.readouterr()
    assert ("steps/s" in captured.err) == bool(verbose)
    assert captured.out == ""

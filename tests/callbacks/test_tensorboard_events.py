"""TensorBoard event files, read back by TensorBoard itself."""

import math

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

from tf_trpo.callbacks import TensorBoard


def scalars(folder):
    """{tag: [(step, value), ...]} of all event files in a folder."""
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    return {
        tag: [(event.step, float(tensor_util.make_ndarray(event.tensor_proto))) for event in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
    }


def write(folder, *logs):
    callback = TensorBoard(folder)
    callback.on_train_begin()
    for epoch, figures in enumerate(logs):
        callback.on_epoch_end(epoch, figures)
    callback.on_train_end(logs[-1])


def test_every_figure_is_a_scalar_over_environment_steps(tmp_path):
    write(
        tmp_path,
        {"time/total_timesteps": 100, "rollout/ep_rew_mean": 1.5, "train/kl_divergence_loss": 0.25},
        {"time/total_timesteps": 250, "rollout/ep_rew_mean": -2.5, "train/kl_divergence_loss": 0.5},
    )
    assert scalars(tmp_path) == {
        "rollout/ep_rew_mean": [(100, 1.5), (250, -2.5)],
        "train/kl_divergence_loss": [(100, 0.25), (250, 0.5)],
    }


def test_what_is_not_known_yet_is_left_out(tmp_path):
    write(
        tmp_path,
        {"time/total_timesteps": 10, "rollout/ep_rew_mean": math.nan, "never": math.nan},
        {"time/total_timesteps": 20, "rollout/ep_rew_mean": 3.0, "never": math.nan},
        {"time/total_timesteps": 30, "rollout/ep_rew_mean": np.float32("nan"), "never": math.nan},
    )
    assert scalars(tmp_path) == {"rollout/ep_rew_mean": [(20, 3.0)]}


def test_figures_can_be_read_while_training_goes_on(tmp_path):
    callback = TensorBoard(tmp_path)
    callback.on_train_begin()
    callback.on_epoch_end(0, {"time/total_timesteps": 10, "figure": 1.0})
    assert scalars(tmp_path) == {"figure": [(10, 1.0)]}
    callback.on_train_end()


def test_the_logs_are_left_as_they_were_for_other_callbacks(tmp_path):
    logs = {"time/total_timesteps": 10, "figure": 1.0}
    write(tmp_path, logs)
    assert logs == {"time/total_timesteps": 10, "figure": 1.0}


def test_a_second_training_adds_to_the_first(tmp_path):
    write(tmp_path, {"time/total_timesteps": 10, "figure": 1.0})
    write(tmp_path, {"time/total_timesteps": 20, "figure": 2.0})
    points = [
        point
        for path in sorted(tmp_path.iterdir())
        for point in EventAccumulator(str(path), size_guidance={"tensors": 0}).Reload().Tensors("figure")
    ]
    assert sorted(point.step for point in points) == [10, 20]

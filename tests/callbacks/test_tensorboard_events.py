"""TensorBoard event files, read back by TensorBoard itself."""

import math
import resource
import socket
import time

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.compat.proto import graph_pb2
from tensorboard.summary.writer import event_file_writer
from tensorboard.util import tensor_util

import tf_trpo
from tf_trpo.callbacks import EpisodeVideo, TensorBoard
from tf_trpo.callbacks.tensorboard import add_final_evaluation
from tf_trpo.models.settings import PolicySettings, ValueSettings
from tf_trpo.rollouts import Rollout

ONCE = {"config", "custom_scalars__config__", "_hparams_/experiment", "_hparams_/session_start_info"}
ONCE |= {"__run_graph__"}


def tensors(folder):
    """{tag: [(step, tensor), ...]} as TensorBoard has it from a folder's event files."""
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    return {
        tag: [(event.step, tensor_util.make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
    }


def scalars(folder):
    return {
        tag: [(step, value.item()) for step, value in points]
        for tag, points in tensors(folder).items()
        if tag not in ONCE
    }


SMALL = PolicySettings(hidden_sizes=(4,))


class StandIn:
    """A real policy and value function, with the other attributes of an agent and a trainer that callbacks use."""

    agent = None

    def __init__(self, steps=0):
        if StandIn.agent is None:
            StandIn.agent = tf_trpo.TRPO.for_env("CartPole-v1", policy=SMALL, value=ValueSettings((3,)), seed=0)
        self.policy, self.value_function = self.agent.policy, self.agent.value_function
        self.policy_optimizer, self.update_settings = self.agent.policy_optimizer, self.agent.update_settings
        self.optimizer, self.env_steps = self.agent.optimizer, tf.Variable(steps, dtype=tf.int64)
        self.rollout = None


def begun(folder, model=None, **settings):
    callback = TensorBoard(folder, **{"histogram_every": 0, **settings})
    callback.set_model(StandIn() if model is None else model)
    callback.set_params({"trainer": callback.model})
    callback.on_train_begin()
    return callback


def write(folder, *logs, model=None, **settings):
    callback = begun(folder, model, **settings)
    for epoch, figures in enumerate(logs):
        callback.model.env_steps.assign(figures["time/total_timesteps"])
        callback.on_epoch_end(epoch, figures)
    callback.on_train_end(logs[-1])


def figure(*steps, value=1.0):
    return [{"time/total_timesteps": step, "figure": value} for step in steps]


def test_every_figure_is_a_scalar_over_environment_steps_unless_it_is_nan(tmp_path):
    """The logs are not changed, since other callbacks use them."""
    logs = [
        {"time/total_timesteps": 100, "rollout/ep_rew_mean": 1.5, "train/kl_divergence_loss": 0.25},
        {"time/total_timesteps": 200, "never": math.nan, "rollout/ep_rew_mean": np.float32("nan")},
        {"time/total_timesteps": 250, "rollout/ep_rew_mean": -2.5},
    ]
    before = [dict(figures) for figures in logs]
    write(tmp_path, *logs)
    assert scalars(tmp_path) == {
        "rollout/ep_rew_mean": [(100, 1.5), (250, -2.5)],
        "train/kl_divergence_loss": [(100, 0.25)],
    }
    # NaN equals itself if it is the same object.
    assert logs == before


def test_figures_can_be_read_during_training(tmp_path):
    callback = begun(tmp_path)
    callback.on_epoch_end(0, *figure(10))
    assert scalars(tmp_path) == {"figure": [(10, 1.0)]}
    callback.on_train_end()


def test_a_resumed_training_replaces_the_events_after_its_checkpoint(tmp_path):
    write(tmp_path, *figure(10, 20, 30, 40))
    write(tmp_path, *figure(25, 35, value=2.0), model=StandIn(20))
    assert scalars(tmp_path) == {"figure": [(10, 1.0), (20, 1.0), (25, 2.0), (35, 2.0)]}
    write(tmp_path, *figure(45, value=3.0), model=StandIn(35))
    assert [step for step, _ in scalars(tmp_path)["figure"]] == [10, 20, 25, 35, 45]
    write(tmp_path, *figure(5, value=4.0))
    assert scalars(tmp_path) == {"figure": [(5, 4.0)]}
    assert len(tensors(tmp_path)["config"]) == 1


def test_the_final_evaluation_is_kept_when_the_run_is_extended(tmp_path):
    write(tmp_path, *figure(10, 20))
    add_final_evaluation(tmp_path, 20, 123.0, 4.5)
    write(tmp_path, *figure(30), model=StandIn(20))
    assert scalars(tmp_path) == {
        "figure": [(10, 1.0), (20, 1.0), (30, 1.0)],
        "final/mean_reward": [(20, 123.0)],
        "final/std_reward": [(20, 4.5)],
    }


def test_the_description_is_written_once_even_if_training_is_resumed(tmp_path):
    write(tmp_path / "first", *figure(10))
    write(tmp_path / "first", *figure(20), model=StandIn(10))
    write(tmp_path / "second", *figure(20), model=StandIn(10))
    for name in ("first", "second"):
        written = tensors(tmp_path / name)
        assert set(written) == {"figure", *ONCE}
        assert [len(written[tag]) for tag in ONCE] == [1] * len(ONCE)
    # The graph is that of the policy, starting at observations.
    [(_, serialized)] = written["__run_graph__"]
    graph = graph_pb2.GraphDef.FromString(serialized.item())
    [observations] = [node for node in graph.node if node.name == "observations"]
    assert [dimension.size for dimension in observations.attr["shape"].shape.dim] == [-1, 4]
    assert sum(node.op == "MatMul" for node in graph.node) == 2


def test_the_compiled_settings_are_shown_unless_others_are_given(tmp_path):
    write(tmp_path / "own", *figure(10))
    [(_, text)] = tensors(tmp_path / "own")["config"]
    shown = {"policy_optimizer": "TrustRegion", "max_kl": None, "max_backtracks": 40, "gamma": 0.99}
    shown |= {"value_learning_rate": 0.001}
    for name, value in shown.items():
        assert f"<td>{name}</td><td>{value}</td>" in text.item().decode()
    given = {"hyperparameters": {"mine": 1}, "config": {"heading": {"name": "value"}}}
    write(tmp_path / "given", *figure(10), **given)
    [(_, text)] = tensors(tmp_path / "given")["config"]
    assert text.item().decode().startswith("<h3>heading</h3>")
    assert "max_kl" not in text.item().decode()


def rollout(actions, valid):
    rest = {name: None for name in Rollout._fields if name not in ("actions", "valid")}
    return Rollout(actions=np.array(actions), valid=np.array(valid), **rest)


def counted(histogram):
    """The number of values in buckets [left, right, count], and the range of the buckets that are not empty."""
    filled = histogram[histogram[:, 2] > 0]
    return histogram[:, 2].sum(), filled[0, 0], filled[-1, 1]


def test_histograms_are_of_all_finite_weights_and_of_the_valid_actions(tmp_path):
    model, nan = StandIn(), math.nan
    actions = [[[0.0, 5.0, nan]], [[1.0, 7.0, 1.0]], [[9.0, 9.0, 9.0]], [[2.0, 6.0, 2.0]]]
    model.rollout = rollout(actions, [[True], [True], [False], [True]])
    write(tmp_path, *figure(10), model=model, histogram_every=1)
    written = {tag: points[0][1] for tag, points in tensors(tmp_path).items() if points[0][1].ndim == 2}
    assert counted(written.pop("actions/0")) == (3, 0.0, 2.0)
    assert counted(written.pop("actions/1")) == (3, 5.0, 7.0)
    weights = {
        f"{name}/{position}_{variable.name}": variable.numpy()
        for name in ("policy", "value_function")
        for position, variable in enumerate(getattr(model, name).trainable_variables)
    }
    assert set(written) == set(weights)
    assert len(weights) == 8
    for name, values in weights.items():
        assert counted(written[name]) == pytest.approx((values.size, values.min(), values.max())), name


def test_histograms_are_written_every_n_steps(tmp_path):
    model = StandIn()
    model.rollout = rollout([[0], [1]], [[True], [True]])
    write(tmp_path, *figure(10, 99, 100, 150, 230), model=model, histogram_every=100)
    assert [step for step, _ in tensors(tmp_path)["actions/0"]] == [100, 230]
    write(tmp_path, *figure(290, 301), model=StandIn(230), histogram_every=100)
    assert [step for step, _ in tensors(tmp_path)["policy/0_kernel"]] == [100, 230, 301]


def test_films_are_written_every_n_steps_and_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(EpisodeVideo, "record", lambda self, agent: b"GIF89a\x03\x00\x02\x00" + b"...")
    write(tmp_path, *figure(10, 100, 150, 230, 240), video=EpisodeVideo("CartPole-v1", 100))
    films = tensors(tmp_path)["episode"]
    assert [step for step, _ in films] == [100, 230, 240]
    assert films[0][1].tolist() == [b"3", b"2", b"GIF89a\x03\x00\x02\x00..."]
    write(tmp_path / "other", *figure(100), video=EpisodeVideo("CartPole-v1", 100))
    assert [step for step, _ in tensors(tmp_path / "other")["episode"]] == [100]


def test_a_full_disk_raises_os_error(tmp_path):
    callback = begun(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        # Python ignores the signal of this limit, so that writing fails, as on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
        with pytest.raises(OSError, match=f"{tmp_path}.* cannot be written"):
            callback.on_epoch_end(0, *figure(10))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    callback.release()


def test_a_program_that_patches_tensorboards_writer_learns_the_folder_and_can_read_it(tmp_path, monkeypatch):
    """wandb's sync_tensorboard does this, and then looks for files of this host that are not older than its start."""
    heard, start = [], int(time.time())

    class Patched(event_file_writer.EventFileWriter):
        def __init__(self, logdir, *args, **kwargs):
            heard.append(logdir)
            super().__init__(logdir, *args, **kwargs)

    monkeypatch.setattr(event_file_writer, "EventFileWriter", Patched)
    write(tmp_path / "events", *figure(10, 20))
    assert heard == [str(tmp_path / "events")]
    (path,) = (tmp_path / "events").iterdir()
    seconds, _, host = path.name.removeprefix("events.out.tfevents.").partition(".")
    assert int(seconds) >= start
    assert host.startswith(socket.gethostname())
    assert scalars(tmp_path / "events") == {"figure": [(10, 1.0), (20, 1.0)]}


@pytest.mark.parametrize("set_back", [0, 1000])
def test_files_are_read_in_the_order_of_creation_even_if_the_clock_is_set_back(set_back, tmp_path, monkeypatch):
    now = time.time()
    monkeypatch.setattr(event_file_writer.time, "time", lambda: now)
    for step in (10, 20, 30):
        write(tmp_path, *figure(step), model=StandIn(step - 10))
        now -= set_back
    assert len({path.name.split(".")[3] for path in tmp_path.iterdir()}) == 3
    assert scalars(tmp_path)["figure"] == [(10, 1.0), (20, 1.0), (30, 1.0)]

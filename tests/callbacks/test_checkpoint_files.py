"""Checkpoints: when, which are kept, whole, and loadable."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

import tf_trpo
from tf_trpo.callbacks import Checkpoint


class StandIn:
    """What a checkpoint needs of an agent; saves a file with its number of steps."""

    def __init__(self, steps=0):
        self.env_steps = tf.Variable(steps, dtype=tf.int64)
        self.breaks = False

    def save(self, path):
        Path(path).write_text("half")
        if self.breaks:
            raise OSError("no space left on device")
        Path(path).write_text(str(self.env_steps.numpy()))


def started(callback, model):
    callback.set_model(model)
    callback.on_train_begin()
    return callback


def reach(callback, *step_counts):
    for epoch, steps in enumerate(step_counts):
        callback.model.env_steps.assign(steps)
        callback.on_epoch_end(epoch, {})


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_one_file_every_so_many_steps_named_by_the_steps(tmp_path):
    callback = started(Checkpoint(tmp_path, 100, keep=9), StandIn())
    reach(callback, 60, 99, 100, 150, 199, 260, 350, 360)
    assert contents(tmp_path) == {
        "steps-000000000100.keras": "100",
        "steps-000000000260.keras": "260",
        "steps-000000000360.keras": "360",
    }


def test_only_the_newest_are_kept(tmp_path):
    callback = started(Checkpoint(tmp_path, 1, keep=2), StandIn())
    # Names sort as the numbers do, past a power of ten too.
    reach(callback, 8, 9, 10, 11, 999, 1000)
    assert contents(tmp_path) == {"steps-000000000999.keras": "999", "steps-000000001000.keras": "1000"}


def test_three_are_kept_by_default(tmp_path):
    reach(started(Checkpoint(tmp_path, 1), StandIn()), 1, 2, 3, 4, 5)
    assert len(contents(tmp_path)) == 3


def test_steps_count_from_where_training_began(tmp_path):
    callback = started(Checkpoint(tmp_path, 100), StandIn(steps=1050))
    reach(callback, 1100, 1149)
    assert not contents(tmp_path)
    reach(callback, 1150)
    assert list(contents(tmp_path)) == ["steps-000000001150.keras"]


def test_the_folder_is_made_with_its_parents(tmp_path):
    reach(started(Checkpoint(tmp_path / "a" / "b", 1), StandIn()), 1)
    assert len(contents(tmp_path / "a" / "b")) == 1


def test_a_save_that_breaks_off_leaves_no_checkpoint_and_keeps_the_old_ones(tmp_path):
    callback = started(Checkpoint(tmp_path, 1, keep=1), StandIn())
    reach(callback, 1)
    callback.model.breaks = True
    with pytest.raises(OSError, match="no space left"):
        reach(callback, 2)
    assert {path.name: path.read_text() for path in tmp_path.glob("steps-*")} == {"steps-000000000001.keras": "1"}
    callback.model.breaks = False
    reach(callback, 3)
    assert contents(tmp_path) == {"steps-000000000003.keras": "3"}


def test_other_files_in_the_folder_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    reach(started(Checkpoint(tmp_path, 1, keep=1), StandIn()), 1, 2)
    assert contents(tmp_path)["notes.txt"] == "mine"


@pytest.mark.parametrize(("every_steps", "keep"), [(0, 3), (-1, 3), (10, 0)])
def test_settings_out_of_range_are_refused(tmp_path, every_steps, keep):
    with pytest.raises(ValueError, match=f"every_steps and keep must be at least 1, got {every_steps} and {keep}"):
        Checkpoint(tmp_path, every_steps, keep=keep)


def test_a_checkpoint_is_the_agent_as_it_was(tmp_path):
    agent = tf_trpo.TRPO.for_env("CartPole-v1", hidden_sizes=[4], value_hidden_sizes=[4], seed=0)
    callback = started(Checkpoint(tmp_path, 10), agent)
    observations = np.random.default_rng(0).standard_normal((50, 4))
    agent.policy.output_layer.kernel.assign(np.random.default_rng(1).standard_normal((4, 2)))
    agent.env_steps.assign(12)
    saved = agent(observations).logits_parameter().numpy()
    callback.on_epoch_end(0, {})
    agent.policy.output_layer.kernel.assign(tf.zeros([4, 2]))
    loaded = tf_trpo.load(tmp_path / "steps-000000000012.keras")
    np.testing.assert_array_equal(loaded(observations).logits_parameter(), saved)
    assert int(loaded.env_steps) == 12
    assert loaded.evaluate(lambda: gym.make("CartPole-v1", max_episode_steps=5), 1)["mean_length"] == 5

"""Runs from Python: what a command would say is an exception, and nothing is left behind."""

import logging
import signal

import gymnasium as gym
import numpy as np
import pytest

import tf_trpo
from tf_trpo.callbacks import StopOnSignal
from tf_trpo.rollouts import actor

TINY = {"total_steps": 40, "num_steps": 20, "hidden_sizes": [4], "value_hidden_sizes": [4], "value_epochs": 1}
QUIET = {"jit_compile": False, "eval_episodes": 1, "quiet": True}


class Unbounded(gym.Env):
    """Actions without bounds, as a user may leave them."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,))
    action_space = gym.spaces.Box(-np.inf, np.inf, (1,))

    def __init__(self, scale=1.0):
        self.scale = scale

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = self.np_random.normal(size=2).astype(np.float32)
        self.steps = 0
        return self.state, {}

    def step(self, action):
        self.state = np.float32(0.9 * self.state + 0.1 * np.clip(action, -1, 1))
        self.steps += 1
        return self.state, -self.scale * float(np.abs(self.state).sum()), False, self.steps == 7, {}


@pytest.fixture(scope="module")
def unbounded():
    """The id of an environment with unbounded actions."""
    gym.register("Unbounded-v0", Unbounded)
    yield "Unbounded-v0"
    del gym.registry["Unbounded-v0"]


def test_a_run_with_unbounded_actions_is_resumed_and_ends_as_one_without_a_stop(tmp_path, unbounded):
    experiment = tf_trpo.Experiment(env=unbounded).replace(**TINY, **QUIET)
    longer = experiment.replace(total_steps=80)
    experiment.train(tmp_path / "run")
    resumed = longer.train(tmp_path / "run", resume=True)
    whole = longer.train(tmp_path / "whole")
    for one, other in zip(resumed.agent.get_weights(), whole.agent.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert tf_trpo.Experiment.from_run(tmp_path / "whole") == longer


def test_a_resumed_fit_compares_the_environment_s_arguments(tmp_path, unbounded):
    def fit(**kwargs):
        agent = tf_trpo.TRPO.for_env(unbounded, seed=0)
        checkpoint = tf_trpo.callbacks.Checkpoint(tmp_path / "checkpoints", None)
        agent.fit(
            unbounded, 20, num_steps=20, verbose=0, callbacks=[] if "resume_from" in kwargs else checkpoint, **kwargs
        )

    fit(env_kwargs={"scale": 2.0})
    with pytest.raises(tf_trpo.training.CheckpointError, match=r"env_kwargs/scale 2\.0, not 3\.0"):
        fit(env_kwargs={"scale": 3.0}, resume_from=tmp_path / "checkpoints")


def test_a_warning_before_the_folder_is_made_does_not_end_the_run(tmp_path, monkeypatch, caplog):
    def refuse(*args, **kwargs):
        raise ValueError("LiteRT has no such operation")

    monkeypatch.setattr(actor, "LiteActor", refuse)
    with caplog.at_level(logging.WARNING, "tf_trpo"):
        tf_trpo.Experiment().replace(**TINY, **QUIET).train(tmp_path / "run")
    assert "acting through TensorFlow" in caplog.text
    assert (tmp_path / "run" / "evaluation.json").is_file()


def test_a_run_that_cannot_begin_gives_the_signals_back(tmp_path):
    (tmp_path / "run").mkdir()
    before = [signal.getsignal(number) for number in StopOnSignal.SIGNALS]
    with pytest.raises(FileExistsError, match="the run folder exists"):
        tf_trpo.Experiment().replace(**TINY, **QUIET).train(tmp_path / "run")
    assert [signal.getsignal(number) for number in StopOnSignal.SIGNALS] == before

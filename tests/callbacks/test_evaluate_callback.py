"""Evaluation during training: when it happens and what it adds to the logs."""

import math

import pytest
import tensorflow as tf

from tf_trpo.callbacks import Evaluate


class StandIn:
    """An agent whose evaluations give the steps that it has taken."""

    def __init__(self, steps=0):
        self.env_steps = tf.Variable(steps, dtype=tf.int64)
        self.calls = []

    def evaluate(self, environment, **kwargs):
        self.calls.append((environment, kwargs))
        steps = float(self.env_steps.numpy())
        return {"mean_return": steps, "std_return": 0.0, "mean_length": -steps, "episodes": 1}


def run(callback, model, *step_counts):
    callback.set_model(model)
    callback.on_train_begin()
    all_logs = []
    for epoch, steps in enumerate(step_counts):
        model.env_steps.assign(steps)
        all_logs.append({"figure": 1.0})
        callback.on_epoch_end(epoch, all_logs[-1])
    return all_logs


def test_results_are_added_every_so_many_steps_and_nan_in_between():
    logs = run(Evaluate("Env", 100), StandIn(), 60, 100, 199, 230, 320, 330)
    rewards = [figures["eval/mean_reward"] for figures in logs]
    lengths = [figures["eval/mean_ep_length"] for figures in logs]
    assert [None if math.isnan(value) else value for value in rewards] == [None, 100, None, 230, 320, None]
    assert [None if math.isnan(value) else value for value in lengths] == [None, -100, None, -230, -320, None]
    assert all(figures["figure"] == 1 for figures in logs)


def test_a_resumed_training_is_evaluated_where_the_whole_one_would_have_been():
    model = StandIn(steps=1050)
    run(Evaluate("Env", 100), model, 1060, 1099)
    assert not model.calls
    run(Evaluate("Env", 100), model, 1101, 1199)
    assert len(model.calls) == 1


def test_the_environment_and_the_arguments_are_passed_on():
    model = StandIn()
    run(Evaluate("Env", 1, episodes=7, stochastic=True, seed=3), model, 1)
    assert model.calls == [("Env", {"episodes": 7, "stochastic": True, "seed": 3})]


@pytest.mark.parametrize("every_steps", [0, -5])
def test_an_interval_below_one_is_refused(every_steps):
    with pytest.raises(ValueError, match=f"every_steps must be at least 1, got {every_steps}"):
        Evaluate("Env", every_steps)

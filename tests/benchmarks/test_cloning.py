"""`cloning`: its rows agree with the trainings."""

import re

import keras
import pytest

import tf_trpo
from benchmarks.cloning import Cloning, Watched


@pytest.mark.slow
def test_a_clone_begins_with_the_return_of_its_model(capsys, monkeypatch):
    monkeypatch.setattr("tf_trpo.learning.learner.xla_is_fast", lambda *models: False)
    settings = {"shown": 2, "starts": ("clone",), "seeds": (0,), "total_steps": 2048, "every": 1000, "episodes": 2}
    Cloning(envs=("CartPole-v1",), **settings, target=300.0).run()
    output = capsys.readouterr().out
    assert "2 episodes of saved_models/CartPole-v1, mean return 500; the return to reach is 300" in output
    [row] = re.findall(r"^\| clone \| 0 \|((?: \d+ \|){7})$", output, re.M)
    first, _, _, least, last, steps, reached = map(int, row.replace("|", "").split())
    assert steps >= 2048 - 16
    assert min(first, least, last) > 300
    assert reached == 0


def test_sampled_returns_are_those_of_the_trained_policy_not_of_its_average():
    agent = tf_trpo.TRPO.for_env("CartPole-v1", seed=0)
    evaluating = {"episodes": 2, "seed": 7}
    of_the_policy = agent.evaluate("CartPole-v1", stochastic=True, **evaluating)["mean_return"]
    agent.average.theta.assign(keras.random.normal(agent.average.theta.shape, seed=0))
    agent.average.updates.assign(1)
    assert agent.evaluate("CartPole-v1", stochastic=True, **evaluating)["mean_return"] != of_the_policy
    assert Watched(agent, "CartPole-v1", 1, **evaluating).sampled_return() == of_the_policy


def test_without_a_known_return_a_target_must_be_given():
    with pytest.raises(ValueError, match="nothing is known of sb3-contrib's TRPO on CartPole-v1: give a --target"):
        Cloning(envs=("CartPole-v1",), shown=1).run()

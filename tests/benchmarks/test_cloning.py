"""`cloning`: its rows agree with the trainings."""

import re

import pytest

from benchmarks.cloning import Cloning


@pytest.mark.slow
def test_a_clone_begins_with_the_return_of_its_model(capsys, monkeypatch):
    monkeypatch.setattr("tf_trpo.training.learner.xla_is_fast", lambda *models: False)
    settings = {"shown": 2, "starts": ("clone",), "total_steps": 2048, "every": 1000, "episodes": 2}
    Cloning("CartPole-v1", **settings, target=300.0).run()
    output = capsys.readouterr().out
    assert "2 episodes of saved_models/CartPole-v1, mean return 500; the return to reach is 300" in output
    [row] = re.findall(r"^\| clone \| 0 \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", output, re.M)
    steps, first, least, last, reached = map(int, row)
    assert steps >= 2048 - 16
    assert min(first, least, last) > 300
    assert reached == 0


def test_without_a_known_return_a_target_must_be_given():
    with pytest.raises(ValueError, match="nothing is known of sb3-contrib's TRPO on CartPole-v1: give a --target"):
        Cloning("CartPole-v1", shown=1).run()

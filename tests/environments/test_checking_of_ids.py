"""Environments with a Gymnasium id: their findings, and how they are made."""

import pytest

from tf_trpo.environments import check_environment


@pytest.mark.parametrize("environment", ["CartPole-v1", "Pendulum-v1", "Acrobot-v1", "FrozenLake-v1", "Blackjack-v1"])
def test_well_known_environments_have_no_error(environment):
    report = check_environment(environment, steps=1000)
    assert {finding.name for finding in report.findings} <= {"equal-rewards"}


def test_wrappers_and_arguments_are_used():
    report = check_environment("CartPole-v1", env_kwargs={"max_episode_steps": 7}, steps=50)
    assert report.facts["time limit"] == "7 steps"
    [finding] = check_environment("CartPole-v1", env_kwargs={"size": 7}).findings
    assert finding.name == "cannot-be-made"
    report = check_environment("Taxi-v4", action_masks="info", steps=200)
    assert "action_mask" in report.facts["observations"]
    assert report.facts["network inputs"] == "500 (500; mask, one-hot)"

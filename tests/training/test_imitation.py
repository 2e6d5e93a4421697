"""An agent that imitates while it learns: its demonstrations are a part of the run."""

import numpy as np
import pytest

import tf_trpo
from tf_trpo.callbacks import Checkpoint
from tf_trpo.demonstrations import record
from tf_trpo.optimizers import DemonstrationBonus, TrustRegion
from tf_trpo.training import CheckpointError

IMITATING = TrustRegion(imitation=DemonstrationBonus(0.5))
FIT = {"num_steps": 32, "verbose": 0}


def always(action):
    return record(lambda observation: action, "CartPole-v1", 3)


def imitating(make_agent, shown):
    agent = make_agent("CartPole-v1", IMITATING)
    agent.imitate(shown)
    return agent


def log_likelihood(agent, shown):
    return np.mean(
        [np.mean(agent.policy(episode.observations[:-1]).log_prob(episode.actions)) for episode in shown.episodes]
    )


def test_agents_that_share_an_update_have_demonstrations_of_their_own(make_agent):
    """Of the same shapes, so that they do share it."""
    left, right = always(0), always(0)
    for episode in right.episodes:
        episode.actions[:] = 1
    changes = {}
    for name, shown in (("left", left), ("right", right)):
        agent = imitating(make_agent, shown)
        before = log_likelihood(agent, left)
        history = agent.fit("CartPole-v1", 90, **FIT).history
        changes[name] = log_likelihood(agent, left) - before
        assert all(bonus > 0 for bonus in history["train/demonstration_bonus"])
    assert changes["left"] > 0 > changes["right"]


def test_a_resumed_fit_is_the_same_to_the_bit_and_other_demonstrations_are_refused(
    make_agent, variables_of, assert_same_weights, tmp_path
):
    shown = always(0)
    agent = imitating(make_agent, shown)
    agent.fit("CartPole-v1", 120, callbacks=[Checkpoint(tmp_path / "whole", 1)], **FIT)
    first = imitating(make_agent, shown)
    first.fit("CartPole-v1", 60, callbacks=[Checkpoint(tmp_path / "half", 1)], **FIT)
    resumed = imitating(make_agent, shown)
    resumed.fit("CartPole-v1", 120, resume_from=tmp_path / "half", **FIT)
    assert_same_weights(variables_of(resumed), variables_of(agent))
    [steps] = resumed.learner.variables()["policy optimizer"]
    assert int(steps) == int(resumed.iterations)
    other = imitating(make_agent, always(1))
    with pytest.raises(CheckpointError, match="demonstrations"):
        other.fit("CartPole-v1", 120, resume_from=tmp_path / "half", **FIT)


def test_an_agent_that_is_loaded_needs_them_again(make_agent, tmp_path):
    shown = always(0)
    imitating(make_agent, shown).save(tmp_path / "agent.keras")
    agent = tf_trpo.load(tmp_path / "agent.keras")
    assert agent.policy_optimizer == IMITATING
    with pytest.raises(ValueError, match=r"demonstration_weight must be 0 unless .* call agent.imitate"):
        agent.fit("CartPole-v1", 32, **FIT)
    agent.imitate(shown)
    agent.fit("CartPole-v1", 32, **FIT)


def test_demonstrations_that_are_set_after_compile_are_refused_until_compile_is_called(make_agent):
    agent, other = (imitating(make_agent, always(action)) for action in (0, 1))
    agent.shown = other.shown
    with pytest.raises(ValueError, match=r"^shown was changed after compile, to another one .*: call compile again"):
        agent.fit("CartPole-v1", 32, **FIT)
    agent.compile()
    assert agent.learner._policy_optimizer_state.shown is other.shown
    agent.fit("CartPole-v1", 32, **FIT)


def test_what_would_do_nothing_is_refused(make_agent):
    with pytest.raises(ValueError, match="demonstration_weight must be positive in order to imitate"):
        make_agent("CartPole-v1").imitate(always(0))
    with pytest.raises(ValueError, match="demonstration_weight must be 0 without demonstrations"):
        tf_trpo.Experiment().replace(demonstration_weight=0.1)

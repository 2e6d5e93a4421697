"""Recorded episodes are those that the environment played."""

import gymnasium as gym
import numpy as np
import pytest

import tf_trpo
from tf_trpo.demonstrations import record
from tf_trpo.models import PolicySettings


def test_a_functions_episodes_are_those_of_the_environment(walk, stray):
    shown = record(stray, walk, 12, seed=3)
    assert set(shown.lengths) == {3, 5, 8}
    assert shown.environment is None
    noises = [episode.observations["seen"][0, 0] for episode in shown.episodes]
    assert len(set(noises)) == 12
    for episode in shown.episodes:
        env = walk()
        env.reset(seed=0)
        seen = episode.observations["seen"]
        env.noise = seen[0, 0]
        assert episode.actions.tolist() == [stray({"seen": row}) for row in seen[:-1]]
        places = np.cumsum(np.where(episode.actions == 6, 1, -1))
        places = [max(-4, place) for place in places] if episode.terminated else None
        if places is not None:
            assert episode.observations["at"].tolist() == [0, *places]
        assert episode.rewards.tolist() == episode.observations["at"][1:].tolist()
        assert episode.terminated == (episode.observations["at"][-1] == 3)
        assert seen[:, 1].tolist() == list(range(len(seen)))
    first, again = shown, record(stray, walk, 12, seed=3)
    for one, other in zip(first.episodes, again.episodes, strict=True):
        np.testing.assert_array_equal(one.observations["seen"], other.observations["seen"])
    assert record(stray, walk, 1, seed=4).episodes[0].observations["seen"][0, 0] != noises[0]


def test_only_an_id_is_the_name_of_the_recorded_environment():
    """Minari makes the environment from this name, and knows ids only."""

    def none(observation):
        return np.zeros(1, np.float32)

    named = "gymnasium.envs.classic_control:PendulumEnv"
    assert record(none, named, 1, max_episode_steps=2).environment is None
    assert record(none, "Pendulum-v1", 1, max_episode_steps=2).environment == "Pendulum-v1"
    for changed in ({"env_kwargs": {"g": 9.0}}, {"wrappers": [gym.wrappers.TimeAwareObservation]}):
        assert record(none, "Pendulum-v1", 1, max_episode_steps=2, **changed).environment is None


def test_a_longer_episode_is_truncated(walk):
    [episode] = record(lambda observation: 5, walk, 1, max_episode_steps=3).episodes
    assert (len(episode.rewards), episode.terminated) == (3, False)


@pytest.mark.parametrize("memory", [None, "gru"])
def test_an_agents_episodes_have_its_predicted_actions(memory):
    agent = tf_trpo.TRPO.for_env("CartPole-v1", policy=PolicySettings((4,)), memory=memory, seed=0)
    policy = agent.policy
    for number, variable in enumerate(policy.trainable_variables):
        variable.assign(0.3 * np.random.default_rng(number).normal(size=variable.shape))
    [episode, other] = record(agent, "CartPole-v1", 2).episodes
    state = None
    for observation, action in zip(episode.observations[:-1], episode.actions, strict=True):
        if memory is None:
            assert agent.predict(observation) == action
        else:
            predicted, state = agent.predict(observation, state)
            assert predicted == action
    assert not np.array_equal(episode.observations[0], other.observations[0])
    sampled, again = (record(agent, "CartPole-v1", 2, stochastic=True).episodes for _ in range(2))
    assert [each.actions.tolist() for each in sampled] == [each.actions.tolist() for each in again]
    assert [each.actions.tolist() for each in sampled] != [each.actions.tolist() for each in (episode, other)]


def test_a_saved_models_episodes_are_those_of_its_agent(tmp_path):
    agent = tf_trpo.TRPO.for_env("Pendulum-v1", policy=PolicySettings((4,)), seed=0)
    agent.export(tmp_path / "model", environment="Pendulum-v1")
    shown, expected = (record(each, "Pendulum-v1", 1) for each in (tmp_path / "model", agent))
    np.testing.assert_allclose(shown.episodes[0].actions, expected.episodes[0].actions, atol=1e-4)
    assert shown.environment == "Pendulum-v1"
    assert shown.action_space.shape == (1,)


def test_a_function_may_return_a_list():
    recorded = record(lambda observation: [0.5], "Pendulum-v1", 1, max_episode_steps=3)
    assert recorded.episodes[0].actions.tolist() == [[0.5]] * 3
    with pytest.raises(ValueError, match=r"^the action .*'left'.* does not lie in the environment's Box"):
        record(lambda observation: ["left"], "Pendulum-v1", 1)


def test_a_function_gets_the_masks_of_an_environment():
    def first_allowed(observation):
        return int(np.flatnonzero(observation["action_mask"])[0])

    [episode] = record(first_allowed, "Taxi-v4", 1, action_masks="info", max_episode_steps=4).episodes
    assert set(episode.observations) == {"observation", "action_mask"}
    rows = enumerate(episode.actions.tolist())
    assert all(episode.observations["action_mask"][step, action] for step, action in rows)


def test_the_action_is_recorded_that_was_taken_even_if_the_environment_changes_it():
    class Doubling(gym.ActionWrapper):
        def action(self, action):
            action *= 2
            return action

    [episode] = record(lambda observation: [0.5], "Pendulum-v1", 1, wrappers=[Doubling], max_episode_steps=2).episodes
    assert episode.actions.tolist() == [[0.5]] * 2


def test_a_demonstrator_that_cannot_act_is_refused(walk, tmp_path):
    with pytest.raises(TypeError, match="cannot act: give an agent of tf_trpo"):
        record(3, walk)
    with pytest.raises(TypeError, match="episodes are recorded one by one"):
        record(lambda observation: 5, gym.make_vec("CartPole-v1", 2))
    with pytest.raises(ValueError, match="stochastic: a function draws its actions itself"):
        record(lambda observation: 5, walk, stochastic=True)
    with pytest.raises(ValueError, match="does not lie in the environment's Discrete"):
        record(lambda observation: 7, walk, 1)
    with pytest.raises(ValueError, match="holds no version"):
        record(tmp_path, walk, 1)
    with pytest.raises(ValueError, match="episodes must be at least 1"):
        record(lambda observation: 5, walk, 0)

"""EnvPool through the same interface, against the physics of its environments."""

from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from tf_trpo import TRPO
from tf_trpo.environments import can_replay, can_reset_some, make_vector_environment
from tf_trpo.rollouts import LocalSource
from tf_trpo.rollouts.actor import Actions
from tf_trpo.rollouts.stepping import collect_rollout
from tf_trpo.spaces import observation_spec

envpool = pytest.importorskip("envpool")


@pytest.fixture
def make():
    """A function that makes environments, which are closed at the end."""
    made = []

    def make_environments(*arguments, **kwargs):
        made.append(make_vector_environment(*arguments, backend="envpool", **kwargs))
        return made[-1]

    yield make_environments
    for environments in made:
        environments.close()


def cartpole_actor(observations, noise):
    actions = (noise > 0).astype(np.int32)
    return Actions(actions, actions)


def cheetah_actor(observations, noise):
    actions = np.tanh(noise[:, None]).repeat(6, axis=1).astype(np.float32)
    return Actions(actions, actions)


def collected(environments, actor, num_steps, seed=0):
    noise = 3 * np.random.default_rng(0).standard_normal((num_steps, environments.num_envs))
    observations = environments.reset(seed=seed)[0]
    spec, just_ended = observation_spec(environments.single_observation_space), np.zeros(environments.num_envs, bool)
    return collect_rollout(environments, actor, spec, observations, just_ended, noise)


def cartpole_step(observations, actions):
    """Next observations, by the equations of Barto, Sutton and Anderson, as in Gymnasium's CartPole."""
    x, x_dot, theta, theta_dot = np.moveaxis(observations.astype(np.float64), -1, 0)
    force = np.where(actions == 1, 10.0, -10.0)
    pull = (force + 0.05 * theta_dot**2 * np.sin(theta)) / 1.1
    theta_acc = (9.8 * np.sin(theta) - np.cos(theta) * pull) / (0.5 * (4 / 3 - 0.1 * np.cos(theta) ** 2 / 1.1))
    x_acc = pull - 0.05 * theta_acc * np.cos(theta) / 1.1
    step = [x + 0.02 * x_dot, x_dot + 0.02 * x_acc, theta + 0.02 * theta_dot, theta_dot + 0.02 * theta_acc]
    return np.stack(step, axis=-1)


def test_spaces_are_those_of_one_environment_and_of_the_batch(make):
    environments = make("Pendulum-v1", 3)
    assert environments.num_envs == 3
    assert environments.single_observation_space.shape == (3,)
    assert environments.observation_space.shape == (3, 3)
    assert environments.single_action_space.shape == (1,)
    assert environments.action_space.shape == (3, 1)
    assert environments.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP


def test_every_row_follows_the_physics_and_episodes_end_by_a_fall_or_the_limit(make):
    rollout = collected(make("CartPole-v1", 4, env_kwargs={"max_episode_steps": 12}), cartpole_actor, 100)
    successors = cartpole_step(rollout.observations[:-1], rollout.actions)
    np.testing.assert_allclose(rollout.observations[1:][rollout.valid], successors[rollout.valid], atol=1e-4)
    fallen = (np.abs(rollout.observations[1:, :, 0]) > 2.4) | (np.abs(rollout.observations[1:, :, 2]) > np.pi / 15)
    ages = [np.zeros(4)]
    for valid in rollout.valid:
        ages.append(np.where(valid, ages[-1] + 1, 0))
    at_limit = np.stack(ages[1:]) == 12
    np.testing.assert_array_equal(rollout.truncated, at_limit)
    # If the pole falls in the last step, EnvPool reports the limit only.
    np.testing.assert_array_equal(rollout.terminated, fallen & rollout.valid & ~at_limit)
    assert min(rollout.terminated.sum(), rollout.truncated.sum()) > 4
    np.testing.assert_array_equal(rollout.rewards, rollout.valid.astype(float))
    np.testing.assert_array_equal(rollout.valid[1:], ~(rollout.terminated | rollout.truncated)[:-1])
    assert (np.abs(rollout.observations[1:][~rollout.valid]) <= 0.05).all()


def test_mujocos_observations_keep_their_precision(make):
    environments = make("HalfCheetah-v5", 2)
    rollout = collected(environments, cheetah_actor, 5)
    assert rollout.observations.shape == (6, 2, 17)
    assert rollout.observations.dtype == np.float64
    assert rollout.valid.all()
    assert np.isfinite(rollout.rewards).all()
    assert rollout.rewards.std() > 0


def test_the_same_seed_gives_the_same_rollouts_in_the_same_environments_and_in_new_ones(make):
    environments = make("CartPole-v1", 3)
    first, again = (collected(environments, cartpole_actor, 60, seed=7) for _ in range(2))
    other = collected(make("CartPole-v1", 3), cartpole_actor, 60, seed=7)
    for array, *others in zip(first, again, other, strict=True):
        for expected in others:
            np.testing.assert_array_equal(array, expected)


def test_the_first_of_several_seeds_is_used(make):
    fresh = make("CartPole-v1", 3).reset(seed=8)[0]
    environments = make("CartPole-v1", 3)
    for seed, same in ((7, False), (8, True), ([8, 1, 2], True)):
        assert np.array_equal(environments.reset(seed=seed)[0], fresh) == same


def test_episodes_cannot_be_replayed_but_new_ones_begin(make):
    environments = make("CartPole-v1", 3)
    assert not can_replay(environments)
    assert not can_reset_some(environments)
    source = LocalSource(environments, SimpleNamespace(initial_states=()), seed=7)
    start = source.episodes.observations
    assert source.state()["actions"] is None
    assert not source.restore(source.state())
    assert not np.array_equal(source.episodes.observations, start)


def test_resetting_without_a_seed_starts_other_episodes(make):
    environments = make("CartPole-v1", 3)
    first = environments.reset(seed=7)[0].copy()
    assert not np.array_equal(environments.reset()[0], first)


def test_actions_are_float32_as_in_gymnasium_and_reach_the_physics_as_the_numbers_they_are(make):
    environments = make("HalfCheetah-v5", 2)
    assert environments.single_action_space == gymnasium.make("HalfCheetah-v5").action_space
    pool = envpool.make_gymnasium("HalfCheetah-v5", num_envs=2, seed=3)
    np.testing.assert_array_equal(environments.reset(seed=3)[0], pool.reset()[0])
    for actions in np.random.default_rng(0).uniform(-1, 1, (20, 2, 6)).astype(np.float32):
        observations = environments.step(actions)[0]
        np.testing.assert_array_equal(observations, pool.step(actions.astype(np.float64))[0])
    pool.close()


def test_an_agent_made_for_gymnasiums_environment_trains_in_envpools_and_is_evaluated_in_gymnasiums():
    agent = TRPO.for_env("HalfCheetah-v5", seed=0)
    agent.fit("HalfCheetah-v5", 64, num_steps=32, num_envs=2, backend="envpool", seed=0, verbose=0)
    assert np.isfinite(agent.evaluate("HalfCheetah-v5", 1, seed=0)["mean_return"])


def test_an_environment_that_envpool_lacks_is_refused(make):
    with pytest.raises(ValueError, match="EnvPool has no environment 'CartPoole-v1'; the sync and async backends may"):
        make("CartPoole-v1")

"""Environments begin another episode in their turn, so that those up to one time limit do not all begin at once."""

import gymnasium as gym
import keras
import numpy as np
import pytest

from tf_trpo.callbacks import Checkpoint
from tf_trpo.environments import EnvironmentFailedError, can_reset_some, make_vector_environment
from tf_trpo.environments.failures import WorkersLostError
from tf_trpo.optimizers import VanillaPolicyGradient
from tf_trpo.rollouts import LocalSource, make_actor

NUM_ENVS, NUM_STEPS, LIMIT = 4, 12, 36
SIZES = {"num_envs": NUM_ENVS, "num_steps": NUM_STEPS, "verbose": 0}


class Clock(gym.Env):
    """Observes (number of the episode, its steps so far), and pays them; continues until a time limit."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,))
    action_space = gym.spaces.Box(-1, 1, (1,))
    episode = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.time = self.episode + 1, 0
        return np.float32([self.episode, 0]), {}

    def step(self, action):
        self.time += 1
        return np.float32([self.episode, self.time]), float(self.time), False, self.time == LIMIT, {}


@pytest.fixture
def agent(borrow_agent):
    return borrow_agent(Clock, VanillaPolicyGradient("sgd"), value_optimizer="sgd", gamma=0.9)


def fit(agent, environment=Clock, restart_every=5, iterations=9):
    """The rollouts of nine iterations, and the history."""
    seen = []
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(keep.params["trainer"].rollout))
    steps = iterations * NUM_ENVS * NUM_STEPS - NUM_ENVS * NUM_STEPS // 2
    history = agent.fit(environment, steps, callbacks=keep, restart_every=restart_every, **SIZES).history
    return seen, history


# By restart_every, for each environment: the iterations, of the first nine, before which it is restarted.
# With 5, an episode of the last environment has just ended when it is restarted, so there is no empty row.
TURNS = {
    0: ((), (), (), ()),
    2: ((2, 4, 6, 8), (2, 4, 6, 8), (1, 3, 5, 7), (1, 3, 5, 7)),
    5: ((5,), (1, 6), (2, 7), (3, 8)),
    8: ((8,), (2,), (4,), (6,)),
}


def row_by_row(every):
    """(episode, steps so far, valid) of every row of every environment, by a plain loop."""
    rows = np.zeros((9, NUM_STEPS, NUM_ENVS, 3))
    for column, turns in enumerate(TURNS[every]):
        episode, time, ended = 1, 0, False
        for iteration in range(9):
            if iteration in turns:
                episode, time, ended = episode + 1, 0, False
            for row in range(NUM_STEPS):
                rows[iteration, row, column] = episode, time, not ended
                episode, time = (episode + 1, 0) if ended else (episode, time + 1)
                ended = time == LIMIT
    return rows


def test_a_memory_begins_again_where_an_episode_is_cut_and_is_kept_elsewhere(borrow_agent, monkeypatch):
    policy, update = {"memory": "lstm", "memory_units": 3}, {"value_optimizer": "sgd", "value_epochs": 0}
    agent = borrow_agent(Clock, VanillaPolicyGradient("sgd"), policy=policy, **update)
    learn, remembered = agent.learner.update, []

    def noting(rollout, carry, *others):
        result, after = learn(rollout, carry, *others)
        remembered.append(([*rollout.memory.states, *carry.states], after.states))
        return result, after

    monkeypatch.setattr(agent.learner, "update", noting)
    fit(agent)
    for iteration in range(1, 9):
        begins = np.array([[iteration in turns] for turns in TURNS[5]])
        (now, _), (rows, values) = remembered[iteration], remembered[iteration - 1]
        # The policy's states before the first row and after the last one, and those of the value function.
        before = [*(part[0] for part in now[:2]), *now[2:]]
        for part, then in zip(before, [*(part[-1] for part in rows[:2]), *values], strict=True):
            assert np.abs(then).min(axis=1).max() > 0
            np.testing.assert_array_equal(part, np.where(begins, 0.0, then))


@pytest.mark.parametrize("every", TURNS)
def test_every_row_is_of_the_episode_that_it_should_be(agent, every):
    rollouts, _ = fit(agent, restart_every=every)
    for rollout, rows in zip(rollouts, row_by_row(every), strict=True):
        np.testing.assert_array_equal(rollout.observations[:-1], rows[..., :2])
        np.testing.assert_array_equal(rollout.valid, rows[..., 2])
    ages = rollouts[-1].observations[0, :, 1]
    assert len(set(ages)) == {0: 1, 2: 2, 5: NUM_ENVS, 8: NUM_ENVS}[every]


def test_a_cut_episode_is_not_reported_and_the_rewards_scale_is_restarted_with_it(agent):
    rollouts, history = fit(agent)
    # An episode up to the limit pays 1 + 2 + ... + LIMIT, and no other is counted.
    assert history["rollout/ep_len_mean"][-1] == LIMIT
    assert history["rollout/ep_rew_mean"][-1] == LIMIT * (LIMIT + 1) / 2
    returns = []
    for column, turns in enumerate(TURNS[5]):
        total = 0.0
        for iteration, rollout in enumerate(rollouts):
            total = 0.0 if iteration in turns else total
            for row in np.flatnonzero(rollout.valid[:, column]):
                total = 0.9 * total + rollout.rewards[row, column]
                returns.append(total)
                total = 0.0 if rollout.truncated[row, column] else total
    np.testing.assert_allclose(agent.return_scale(np.float32(1.0)).numpy(), 1 / np.std(returns), rtol=1e-4)


def test_after_a_rollout_that_is_not_finite_environments_are_spread_again(agent):
    made = []

    class Fails(Clock):
        def __init__(self):
            made.append(self)

        def step(self, action):
            observation, reward, *rest = super().step(action)
            fails = self is made[0] and (self.episode, self.time) == (2, 10)
            return observation, float("nan") if fails else reward, *rest

    rollouts, history = fit(agent, Fails, iterations=12)
    assert history["train/faults"][-1] == 1
    failed = history["train/faults"].index(1)
    assert not rollouts[failed].observations[0, :, 1].any()
    assert len(set(rollouts[-1].observations[0, :, 1])) == NUM_ENVS


def test_a_turn_that_fails_says_when(agent):
    class Shut(Clock):
        def reset(self, *, seed=None, options=None):
            if self.episode == 1 and self.time == NUM_STEPS:
                raise RuntimeError("the door is shut")
            return super().reset(seed=seed, options=options)

    with pytest.raises(EnvironmentFailedError, match=r"environment 1 .* the door is shut, when reset, in the ro"):
        fit(agent, Shut)


class Workers(LocalSource):
    """A source that loses its workers in its third rollout, or none."""

    rollouts = 0

    def collect(self, weights, noise):
        self.rollouts += 1
        if self.rollouts == 3:
            raise WorkersLostError("no worker is left")
        return super().collect(weights, noise)


@pytest.mark.parametrize(("restart_every", "saved"), [(0, [48, 96]), (2, [48])])
def test_a_checkpoint_after_the_loss_of_all_workers_is_of_a_whole_iteration(agent, restart_every, saved, tmp_path):
    """With restarts in turn, environments have begun other episodes already: an earlier checkpoint is left."""
    source = Workers(make_vector_environment(Clock, NUM_ENVS), make_actor(agent.policy, NUM_ENVS), seed=0)
    checkpoints = Checkpoint(tmp_path, 10**6, at_start=False)
    begin = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: epoch or checkpoints._save())
    with pytest.raises(WorkersLostError, match="no worker is left, in the rollout of iteration 2, after 96 steps"):
        agent.fit(
            source, 480, num_steps=NUM_STEPS, restart_every=restart_every, callbacks=[checkpoints, begin], verbose=0
        )
    assert sorted(int(path.stem.removeprefix("steps-")) for path in tmp_path.iterdir()) == saved


def test_nothing_is_saved_after_the_loss_of_all_workers_in_an_update(agent, tmp_path, monkeypatch):
    """The value function may have been fitted already, and the policy not."""

    def lose(*_):
        raise WorkersLostError("no worker is left")

    lose_later = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: monkeypatch.setattr(agent.learner, "update", lose)
    )
    with pytest.raises(WorkersLostError):
        agent.fit(Clock, 480, callbacks=[Checkpoint(tmp_path, 10**6), lose_later], **SIZES)
    assert not list(tmp_path.iterdir())


def test_what_cannot_begin_in_turns_is_refused(agent):
    vector = make_vector_environment(Clock, 2)
    assert can_reset_some(vector)
    # Its own statistics know nothing of resets of some.
    together = gym.wrappers.vector.NormalizeObservation(vector)
    with pytest.raises(ValueError, match=r"that can be reset one by one .* not NormalizeObservation"):
        agent.fit(together, 100, restart_every=3, verbose=0)
    with pytest.raises(ValueError, match="restart_every must be zero or positive, got -1"):
        agent.fit(Clock, 100, restart_every=-1, verbose=0)

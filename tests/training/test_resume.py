"""A fit that was broken off and resumed is, bit for bit, one that was not, if its episodes can be played again."""

import dataclasses
import os
from typing import ClassVar

import gymnasium as gym
import keras
import numpy as np
import pytest

from tf_trpo.callbacks import Checkpoint
from tf_trpo.environments import EnvironmentFailedError
from tf_trpo.learning.learner import Learner
from tf_trpo.optimizers import AdaptiveRadius, KLPenalty, NaturalDirection, TrustRegion, VanillaPolicyGradient
from tf_trpo.rollouts import VineSettings
from tf_trpo.training import CheckpointError
from tf_trpo.training.checkpoint import read_checkpoint

FIT = {"num_envs": 2, "num_steps": 32, "seed": 3, "verbose": 0}


class BreakOff(keras.callbacks.Callback):
    """Ends a fit as a killed process would: nothing is written after the iteration."""

    def __init__(self, iteration):
        super().__init__()
        self._iteration = iteration

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self._iteration:
            raise KeyboardInterrupt


def break_off(agent, environment, folder, after, *, every_steps=1, **fit):
    callbacks = [Checkpoint(folder, every_steps), BreakOff(after)]
    with pytest.raises(KeyboardInterrupt):
        agent.fit(environment, 500, callbacks=callbacks, **FIT | fit)


class Drift(gym.Env):
    """A walk whose speed and noise are not seen; its actions have no bounds, its episodes random lengths."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.speed, self.left = 0.0, self.np_random.normal(), int(self.np_random.integers(15, 60))
        return np.array([self.place, 1.0]), {}

    def step(self, action):
        self.speed = 0.9 * self.speed + float(action[0]) + 0.1 * self.np_random.normal()
        self.place += self.speed
        self.left -= 1
        return np.array([self.place, np.tanh(self.place)]), -abs(self.place), self.left == 0, False, {}


class LastAction(gym.ObservationWrapper):
    """Shows the sum of the actions of the episode in place of the second number."""

    def reset(self, **kwargs):
        self.total = 0.0
        return super().reset(**kwargs)

    def step(self, action):
        self.total += float(action[0])
        return super().step(action)

    def observation(self, observation):
        return np.array([observation[0], self.total])


def wrapped():
    return gym.wrappers.TimeLimit(LastAction(Drift()), 40)


CART = TrustRegion(0.001, radius=AdaptiveRadius())
CASES = {
    "CartPole in processes and in turns, adaptive radius": (
        "CartPole-v1",
        CART,
        {},
        {"backend": "async", "restart_every": 3},
    ),
    "Pendulum, scheduled limit and std, and average": (
        "Pendulum-v1",
        TrustRegion(0.02, final_max_kl=0.001),
        {"final_std": 0.2, "ema_momentum": 0.8},
        {},
    ),
    "a class of a user's own behind wrappers": (wrapped, KLPenalty(), {}, {}),
    "a class of a user's own, remembered": (wrapped, TrustRegion(), {"memory": "lstm", "memory_units": 3}, {}),
    "remembered in several segments": (wrapped, TrustRegion(), {"memory": "gru", "memory_units": 3}, {}),
    "branches, behind wrappers": (wrapped, VanillaPolicyGradient("sgd"), {}, {"vine": VineSettings(1, 2, 3)}),
    "LunarLander, by Box2D": ("LunarLander-v3", TrustRegion(), {}, {}),
    "Blackjack, flattened": ("Blackjack-v1", VanillaPolicyGradient("sgd"), {}, {}),
    "Hopper, by MuJoCo": ("Hopper-v5", KLPenalty(), {}, {}),
}
UPDATES = {"remembered in several segments": {"segment_length": 8, "burn_in": 4}}


def assert_within_an_episode_and_remembered(state):
    """Of a checkpoint with a memory."""
    source = state["source"]
    goes_on = [
        not ended and len(actions) > 0 for ended, actions in zip(source["just_ended"], source["actions"], strict=True)
    ]
    assert any(goes_on)
    # After the returns, the states of the value function's memory.
    _, *values = state["carry"]
    assert len(values) == len(source["memory"]) > 0
    for part in (*source["memory"], *values):
        assert np.abs(part[goes_on]).min() > 0


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name.startswith(("Black", "Hop", "Lunar")) else name
        for name in CASES
    ],
)
def test_all_variables_are_those_of_a_fit_that_was_not_interrupted(
    name, borrow_agent, variables_of, assert_same_weights, tmp_path, caplog
):
    environment, optimizer, policy, settings = CASES[name]
    whole, resumed = (borrow_agent(environment, optimizer, policy=policy, **UPDATES.get(name, {})) for _ in range(2))
    expected = whole.fit(environment, 500, **FIT | settings).history
    break_off(resumed, environment, tmp_path, 4, every_steps=120, **settings)
    _, state = read_checkpoint(tmp_path)
    assert state["env_steps"] < int(resumed.env_steps)
    if "memory" in policy:
        assert_within_an_episode_and_remembered(state)
    history = resumed.fit(environment, 500, resume_from=tmp_path, **FIT | settings).history
    assert_same_weights(variables_of(resumed), variables_of(whole))
    done = len(history["time/total_timesteps"])
    assert 0 < done < len(expected["time/total_timesteps"])
    for figure in expected.keys() - {"time/fps", "time/time_elapsed"}:
        assert history[figure] == expected[figure][-len(history[figure]) :], figure
    assert history["time/time_elapsed"][0] > state["report"]["elapsed"]
    assert "begin new episodes" not in caplog.text


@pytest.mark.slow
def test_it_can_be_broken_off_again_and_again(borrow_agent, variables_of, assert_same_weights, tmp_path):
    whole = borrow_agent(wrapped)
    whole.fit(wrapped, 500, **FIT)
    break_off(borrow_agent(wrapped), wrapped, tmp_path, 1)
    for after in (2, 4, 5):
        break_off(borrow_agent(wrapped), wrapped, tmp_path, after, resume_from=tmp_path)
    last = borrow_agent(wrapped)
    last.fit(wrapped, 500, resume_from=tmp_path, **FIT)
    assert_same_weights(variables_of(last), variables_of(whole))


class Noted(Drift):
    """Notes the seeds of its episodes."""

    seeds: ClassVar[list[int | None]] = []

    def reset(self, *, seed=None, options=None):
        self.seeds.append(seed)
        return super().reset(seed=seed)


def vector_of(environment):
    return gym.vector.SyncVectorEnv([environment] * 2)


@pytest.mark.parametrize("make", [lambda: Noted, lambda: vector_of(Noted)])
def test_every_fit_begins_new_episodes(make, borrow_agent, monkeypatch):
    agent, seen = borrow_agent(Drift, KLPenalty()), []
    for _ in range(3):
        monkeypatch.setattr(Noted, "seeds", [])
        agent.fit(make(), 100, **FIT)
        seen += {*Noted.seeds} - {None}
        assert len(seen) > 1
    assert len({*seen}) == len(seen)


def test_a_later_fit_continues_as_exactly(borrow_agent, variables_of, assert_same_weights, tmp_path, caplog):
    """The resumed agent has other iterations than the fit began with, or none."""
    whole, broken, new = (borrow_agent(Drift, KLPenalty()) for _ in range(3))
    for agent in (whole, broken):
        agent.fit(Drift, 100, **FIT)
    whole.fit(Drift, 500, **FIT)
    break_off(broken, Drift, tmp_path, 4)
    new.fit(Drift, 500, resume_from=tmp_path, **FIT)
    assert_same_weights(variables_of(new), variables_of(whole))
    assert "begin new episodes" not in caplog.text


class Unseeded(Drift):
    """Noise that no seed is asked for."""

    def step(self, action):
        self.speed += os.urandom(1)[0] / 256
        return super().step(action)


def drift_with_memory():
    return gym.wrappers.DtypeObservation(gym.wrappers.NormalizeObservation(Drift()), np.float64)


AGAIN = {
    "noise without a seed": lambda: Unseeded,
    "statistics of all episodes": lambda: drift_with_memory,
    "a vector environment of the user": lambda: vector_of(Drift),
    "EnvPool": lambda: pytest.importorskip("envpool") and "CartPole-v1",
}


@pytest.mark.parametrize("name", AGAIN)
def test_what_cannot_be_played_again_begins_new_episodes_and_the_fit_says_so(
    name, borrow_agent, tmp_path, caplog, says
):
    make, settings = AGAIN[name], {"backend": "envpool" if name == "EnvPool" else "sync"}
    agent = borrow_agent("CartPole-v1", CART) if name == "EnvPool" else borrow_agent(Drift, KLPenalty())
    break_off(agent, make(), tmp_path, 2, **settings)
    with says("the environments begin new episodes"):
        history = agent.fit(make(), 500, resume_from=tmp_path, **FIT | settings).history
    assert history["time/iterations"][0] == 4
    assert 500 <= history["time/total_timesteps"][-1] < 500 + 64
    assert ("it has running statistics (NormalizeObservation)" in caplog.text) == ("statistics" in name)
    # No episode is longer than it can be: none was counted on from the episodes that are gone.
    assert name == "EnvPool" or max(history["rollout/ep_len_mean"]) < 60


class Fails(Drift):
    """Fails after so many steps, or when an episode is cut after them."""

    steps, left, at_reset = 0, 0, False

    def reset(self, **kwargs):
        if self.at_reset and self.left > 0 and self.steps > 45:
            raise RuntimeError("stuck")
        return super().reset(**kwargs)

    def step(self, action):
        self.steps += 1
        if not self.at_reset and self.steps > 45:
            raise RuntimeError("stuck")
        return super().step(action)


@pytest.mark.parametrize("at_reset", [False, True])
def test_after_an_environment_that_failed_new_episodes_begin(at_reset, borrow_agent, monkeypatch, tmp_path, says):
    """It would fail in every replay again."""
    monkeypatch.setattr(Fails, "at_reset", at_reset)
    agent, settings = borrow_agent(Drift, KLPenalty()), FIT | {"restart_every": 2 if at_reset else 0}
    with pytest.raises(EnvironmentFailedError, match="stuck"):
        agent.fit(Fails, 500, callbacks=[Checkpoint(tmp_path, None)], **settings)
    _, state = read_checkpoint(tmp_path)
    assert state["source"]["actions"] is None
    with says("the environments begin new episodes"):
        history = agent.fit(Drift, 200, resume_from=tmp_path, **settings).history
    assert history["time/total_timesteps"][-1] >= 200


@pytest.fixture(scope="module")
def written(make_agent, tmp_path_factory):
    """A folder with checkpoints after two iterations of a fit, and after the fit's end."""
    folder = tmp_path_factory.mktemp("written")
    make_agent("CartPole-v1", CART).fit("CartPole-v1", 100, callbacks=[Checkpoint(folder, 1, keep=9)], **FIT)
    return folder


def test_a_fit_goes_on_from_one_checkpoint_of_several(written, borrow_agent):
    older = min(written.iterdir())
    history = borrow_agent("CartPole-v1", CART).fit("CartPole-v1", 100, resume_from=older, **FIT).history
    assert history["time/iterations"][0] == 2


@pytest.fixture
def untraced(monkeypatch):
    """No update is to come."""
    monkeypatch.setattr(Learner, "trace", lambda *given, **named: None)


OTHERS = {
    "seed": ("fit", {"seed": 4}, "of a run with seed 3, not 4$"),
    "seed of NumPy": ("fit", {"seed": np.int64(4)}, "of a run with seed 3, not 4$"),
    "rows": ("fit", {"num_steps": 16}, "of a run with num_steps 32, not 16$"),
    "turns": ("fit", {"restart_every": 2}, "of a run with restart_every 0, not 2$"),
    "environments": ("fit", {"num_envs": 3}, "its discounted returns or its memories do not fit these environments"),
    "environment": ("agent", {"environment": "OtherCart-v0"}, "environment CartPole-v1, not OtherCart-v0$"),
    "initial weights": ("agent", {"seed": 1}, r"layers/1/config/kernel_initializer/config/seed \d+, not \d+"),
    "updates": (
        "agent",
        {"gamma": 0.9, "gae_lambda": 0.5},
        "update/gae_lambda 0.95, not 0.5; update/gamma 0.99, not 0.9",
    ),
    "limit": ("agent", {"policy_optimizer": dataclasses.replace(CART, max_kl=0.002)}, "/max_kl 0.001, not 0.002$"),
    "constraint": (
        "agent",
        {"policy_optimizer": dataclasses.replace(CART, constraint="max")},
        "constraint mean, not max$",
    ),
    "algorithm": ("agent", {"policy_optimizer": KLPenalty()}, "policy_optimizer/class TrustRegion, not KLPenalty"),
    "value optimizer": (
        "agent",
        {"value_optimizer": keras.optimizers.Adam(0.5, beta_1=0.25)},
        "beta_1 0.9, not 0.25; .*learning_rate 0.001.*, not 0.5$",
    ),
    "policy": ("policy", {"function_preserving": False}, "function_preserving True, not False$"),
    "average": ("policy", {"ema_momentum": 0.5}, "ema_momentum 0.9, not 0.5$"),
    "memory": ("policy", {"memory": "gru", "memory_units": 3}, "encoder/config/cell"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_checkpoint_of_another_run_is_refused_and_the_agent_stays_as_it_was(
    name, written, make_agent, untraced, variables_of, assert_same_weights, monkeypatch
):
    monkeypatch.setitem(gym.registry, "OtherCart-v0", gym.spec("CartPole-v1"))
    part, changes, words = OTHERS[name]
    run = {"agent": {"environment": "CartPole-v1", "policy_optimizer": CART}, "policy": {}, "fit": FIT}
    run[part] = run[part] | changes
    agent = make_agent(**run["agent"], policy=run["policy"])
    before = variables_of(agent)
    with pytest.raises(CheckpointError, match=rf"steps-\d+.ckpt is not a checkpoint of this run: .*{words}"):
        agent.fit(run["agent"]["environment"], 600, resume_from=written, **run["fit"])
    assert_same_weights(variables_of(agent), before)


def test_a_complete_fit_has_nothing_left_to_do_and_what_changes_no_more_than_rounding_is_not_compared(
    written, make_agent, untraced
):
    direction = NaturalDirection(fisher_vector_product="double-backprop")
    agent = make_agent("CartPole-v1", dataclasses.replace(CART, direction=direction), chunk_size=10)
    # Functions are not compared either: only ids are.
    same = FIT | {"num_steps": np.int64(32), "seed": np.uint8(3)}
    assert agent.fit(lambda: gym.make("CartPole-v1"), 100, resume_from=written, **same).epoch == []
    assert int(agent.env_steps) >= 100

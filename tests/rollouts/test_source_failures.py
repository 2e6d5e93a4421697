"""States that are not a source's own, and environments that fail."""

import copy

import gymnasium as gym
import numpy as np
import pytest

from tf_trpo.environments import EnvironmentFailedError, InvalidStepError, make_vector_environment
from tf_trpo.rollouts import LocalSource
from tf_trpo.rollouts.actor import Actions


class Fragile(gym.Env):
    """Episodes of 5 steps; what happens in a step, and in a reset, can be replaced."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    reset_as = step_as = staticmethod(lambda observation: observation)

    begins = staticmethod(lambda seed: None)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.begins(seed)
        self.time, self.position = 0, self.np_random.normal(size=2).astype(np.float32)
        return self.reset_as(self.position), {}

    def step(self, action):
        self.time += 1
        self.position = self.position + action
        return self.step_as(self.position), 1.0, self.time == 5, False, {}


class Follow:
    initial_states = ()

    def set_weights(self, weights):
        pass

    def __call__(self, observations, noise, states=()):
        return Actions(noise, noise)

    def for_environment(self, sampled):
        return sampled


def broken(observation):
    raise ArithmeticError("broken")


def collect(source, num_steps):
    noise = np.random.default_rng(num_steps).uniform(-1, 1, (num_steps, source.num_envs, 1)).astype(np.float32)
    return source.collect([], noise)


def made():
    return LocalSource(make_vector_environment(Fragile, 2), Follow(), seed=0)


@pytest.fixture
def source():
    source = made()
    collect(source, 8)
    return source


MALFORMED = {
    "observations": [
        lambda parts: [*parts, *parts],
        lambda parts: [parts[0][:1]],
        lambda parts: [parts[0].astype(np.float64)],
        lambda parts: [np.full_like(parts[0], np.inf)],
    ],
    "just_ended": [lambda array: array[:1], lambda array: array.astype(np.int64)],
    "episodes": [lambda array: array - 100, lambda array: array.astype(np.float64)],
    "actions": [
        lambda actions: [*actions, actions[0]],
        lambda actions: [actions[0], actions[1][:, 0]],
        lambda actions: [actions[0].astype(np.float64), actions[1]],
    ],
}


def test_a_malformed_state_is_refused_and_the_source_is_as_it_was(source):
    before = copy.deepcopy(source.state())
    for name, changes in MALFORMED.items():
        for change in changes:
            with pytest.raises(ValueError, match=r"observations|just_ended|episodes|actions"):
                source.restore({**before, name: change(before[name])})
    twin = made()
    assert twin.restore(before)
    for array, expected in zip(collect(source, 9), collect(twin, 9), strict=True):
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state | {"just_ended": ~state["just_ended"]},
        lambda state: state | {"episodes": state["episodes"] + 1},
        lambda state: (
            state | {"observations": [np.nextafter(part, np.float32(np.inf)) for part in state["observations"]]}
        ),
        lambda state: state | {"actions": [actions[:-1] for actions in state["actions"]]},
        lambda state: state | {"actions": [np.repeat(actions, 4, axis=0) for actions in state["actions"]]},
    ],
    ids=["just_ended", "episodes", "observations", "fewer actions", "actions after the end"],
)
def test_a_state_that_contradicts_itself_begins_new_episodes(source, change):
    state = change(source.state())
    assert not source.restore(copy.deepcopy(state))
    np.testing.assert_array_equal(source.state()["episodes"], state["episodes"] + 1)
    assert collect(source, 3).valid.all()


def cut(observation):
    return observation[:1]


SOME = np.array([False, True])
RESET = r"reset\(seed=\.\.\., options=\.\.\.\) must return \(observation, info\)"
FAILURES = [
    ("step_as", broken, lambda source: collect(source, 2), "environment 0 raised ArithmeticError: broken, in row 0"),
    ("reset_as", broken, lambda source: source.restart_some(SOME), "environment 1 raised .*: broken, when reset"),
    ("reset_as", broken, LocalSource.restart, "environment 0 raised ArithmeticError: broken, when reset"),
    ("reset", lambda **given: 3, LocalSource.restart, rf"environment 0 gave an? \w+: {RESET}, when reset"),
    ("reset", lambda seed: 3, LocalSource.restart, rf"environment 0 raised TypeError: .*: {RESET}, when reset"),
    ("reset_as", cut, LocalSource.restart, r"environment 0 gave an observation of shape \(1,\), its .*, when reset"),
]


@pytest.mark.parametrize(("place", "fault", "call", "message"), FAILURES)
def test_after_a_failure_a_state_begins_new_episodes_until_the_environments_are_restarted(
    source, monkeypatch, place, fault, call, message
):
    with monkeypatch.context() as patched:
        patched.setattr(Fragile, place, staticmethod(fault))
        with pytest.raises(EnvironmentFailedError, match=f"^{message}$"):
            call(source)
    state = source.state()
    assert state["actions"] is None
    twin = made()
    assert not twin.restore(state)
    assert (twin.state()["episodes"] == state["episodes"] + 1).all()
    source.restart()
    collect(source, 7)
    assert twin.restore(source.state())


def test_an_episode_that_could_not_begin_in_turn_is_not_begun_after_a_resumption(source, monkeypatch):
    seeds = []
    monkeypatch.setattr(Fragile, "begins", staticmethod(seeds.append))
    with monkeypatch.context() as patched:
        patched.setattr(Fragile, "reset_as", staticmethod(broken))
        with pytest.raises(EnvironmentFailedError, match="broken"):
            source.restart_some(SOME)
    [failed] = seeds
    twin = made()
    seeds.clear()
    assert not twin.restore(source.state())
    assert failed not in seeds


def test_a_reset_that_fails_at_the_start_is_a_failure(monkeypatch):
    monkeypatch.setattr(Fragile, "reset_as", staticmethod(broken))
    with pytest.raises(EnvironmentFailedError, match=r"^environment 0 raised ArithmeticError: broken, when reset$"):
        made()


def no_number(observation):
    return observation * np.float32(np.nan)


@pytest.mark.parametrize(("fault", "error"), [(no_number, InvalidStepError), (broken, EnvironmentFailedError)])
@pytest.mark.parametrize("resumed", [False, True])
def test_no_episode_of_a_rollout_that_failed_is_begun_again(source, monkeypatch, fault, error, resumed):
    seeds = []
    monkeypatch.setattr(Fragile, "begins", staticmethod(seeds.append))

    def step_as(observation):
        # Each environment has begun two or three episodes by then.
        return fault(observation) if len(seeds) > 4 else observation

    with monkeypatch.context() as patched:
        patched.setattr(Fragile, "step_as", staticmethod(step_as))
        with pytest.raises(error, match=r"not finite|broken"):
            collect(source, 40)
    if resumed:
        state, source = source.state(), made()
        assert state["actions"] is None
        del seeds[-2:]
        assert not source.restore(state)
    else:
        source.restart()
    assert collect(source, 3).valid.all()
    assert len(seeds) > 6
    assert len(set(seeds)) == len(seeds)


def test_environments_that_are_reset_together_only_are_not_restarted_in_part(source, monkeypatch):
    monkeypatch.setattr("tf_trpo.rollouts.source.can_reset_some", lambda environments: False)
    with pytest.raises(ValueError, match="can only be reset together"):
        source.restart_some(np.array([True, False]))

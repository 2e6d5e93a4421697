"""Costs of every step, by keys of infos and by functions, against the environments' own records."""

import itertools
import math

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from tf_trpo.environments import EnvironmentFailedError, InvalidStepError, make_vector_environment
from tf_trpo.environments.costs import cost_labels, find_costs, import_costs
from tf_trpo.rollouts import EpisodeTracker, LocalSource
from tf_trpo.rollouts.actor import Actions

NOISE = np.zeros((40, 2))


class Walk(gym.Env):
    """Episodes of 5 and 6 steps in turn; the cost and the observation are the number of the step."""

    observation_space = gym.spaces.Box(-100.0, 100.0, (1,), np.float64)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, info=lambda number: {"speed": number, "nested": {"heat": -0.5 * number}}):
        self._info, self._episode = info, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._steps, self._episode = 0, self._episode + 1
        return np.zeros(1), {}

    def step(self, action):
        self._steps += 1
        ended = self._steps == 5 + self._episode % 2
        return np.array([float(self._steps)]), 1.0, ended, False, self._info(self._steps)


def rise(observation, action, reward, next_observation, info):
    """A cost of 10 plus the action."""
    return 10.0 * (next_observation[0] - observation[0]) + action


class Ones:
    """An actor that always takes action 1."""

    initial_states = ()

    def set_weights(self, weights):
        pass

    def __call__(self, observations, noise, states=()):
        return Actions(np.ones(2, np.int64), np.ones(2, np.int64))

    def for_environment(self, sampled):
        return sampled


def rollout_of(environments):
    source = LocalSource(environments, Ones(), seed=0)
    try:
        return source.collect([], NOISE)
    finally:
        source.close()


@pytest.mark.parametrize("backend", ["sync", pytest.param("async", marks=pytest.mark.slow)])
def test_costs_of_all_steps_are_in_the_rollout_and_other_rows_have_cost_0(backend):
    costs = ["speed", "nested/heat", rise]
    rollout = rollout_of(make_vector_environment(Walk, 2, backend=backend, costs=costs, info_keys=["speed"]))
    assert rollout.costs.shape == (40, 2, 3)
    steps = rollout.observations[1:, :, 0]
    np.testing.assert_array_equal(rollout.costs[..., 0], np.where(rollout.valid, steps, 0.0))
    np.testing.assert_array_equal(rollout.costs[..., 1], np.where(rollout.valid, -0.5 * steps, 0.0))
    np.testing.assert_array_equal(rollout.costs[..., 2], np.where(rollout.valid, 11.0, 0.0))
    assert (~rollout.valid).sum() == 12
    tracker = EpisodeTracker(2, 3)
    for episode in itertools.chain.from_iterable(tracker.finished(rollout)):
        assert episode.costs == (sum(range(episode.length + 1)), -0.5 * episode.costs[0], 11.0 * episode.length)
        assert episode.infos == {"speed": episode.length}


@pytest.mark.parametrize("backend", ["sync", pytest.param("async", marks=pytest.mark.slow)])
def test_after_a_replay_to_the_end_of_all_episodes_the_next_row_has_cost_0(backend):
    def make():
        return gym.wrappers.TimeLimit(Walk(), 3)

    sources = [
        LocalSource(make_vector_environment(make, 2, backend=backend, costs=["speed"]), Ones(), seed=0) for _ in "ab"
    ]
    try:
        assert sources[0].collect([], NOISE[:3]).truncated[-1].all()
        assert sources[1].restore(sources[0].state())
        for source in sources:
            np.testing.assert_array_equal(source.collect([], NOISE[:4]).costs[..., 0].T, [[0, 1, 2, 3]] * 2)
        # A reset after such a replay begins an episode whose first row is a step.
        assert sources[1].restore(sources[0].state())
        sources[1].restart()
        np.testing.assert_array_equal(sources[1].collect([], NOISE[:2]).costs[..., 0].T, [[1, 2]] * 2)
    finally:
        for source in sources:
            source.close()


@pytest.mark.parametrize("mode", AutoresetMode)
def test_the_users_vector_environments_give_costs_by_keys(mode):
    own = SyncVectorEnv([Walk, Walk], autoreset_mode=mode)
    rollout = rollout_of(make_vector_environment(own, costs=["speed", "nested/heat"]))
    steps = rollout.observations[1:, :, 0]
    np.testing.assert_array_equal(rollout.costs[..., 0], np.where(rollout.valid, steps, 0.0))
    np.testing.assert_array_equal(rollout.costs[..., 1], -0.5 * rollout.costs[..., 0])
    assert rollout.valid.sum() > 60


def test_without_costs_a_rollout_has_none():
    assert rollout_of(make_vector_environment(Walk, 2)).costs == ()


def test_cost_functions_are_refused_for_the_users_vector_environments():
    with pytest.raises(ValueError, match="cost rise is a function of a step"):
        make_vector_environment(SyncVectorEnv([Walk, Walk]), costs=[rise])
    made = make_vector_environment(Walk, 2, costs=[rise])
    assert rollout_of(make_vector_environment(made, costs=[rise])).costs[0, 0] == 11.0


@pytest.mark.parametrize("own", [False, True])
def test_a_vector_environment_made_before_keeps_its_infos_and_others_are_refused(own):
    def made(**kept):
        return make_vector_environment(SyncVectorEnv([Walk, Walk]) if own else Walk, 2, **kept)

    costs, keys = ["speed", "nested/heat"], ["speed", "nested/heat"]
    for given in ({}, {"costs": costs}, {"costs": costs, "info_keys": keys}):
        rollout = rollout_of(make_vector_environment(made(costs=costs, info_keys=keys), **given))
        np.testing.assert_array_equal(rollout.costs[0, 0], [1.0, -0.5])
        assert list(rollout.infos) == keys
        assert np.nanmin(rollout.infos["nested/heat"]) == -3.0
    with pytest.raises(ValueError, match=r"with the costs speed, nested/heat, not with nested/heat, speed: make it"):
        make_vector_environment(made(costs=costs), costs=costs[::-1])
    with pytest.raises(ValueError, match=r"^the vector environment was made without nested/heat, and keeps no other"):
        make_vector_environment(made(costs=costs[:1]), costs=costs[:1], info_keys=keys)
    with pytest.raises(ValueError, match=r"^the vector environment was made without speed, and keeps no other infos"):
        make_vector_environment(made(info_keys=keys[1:]), costs=costs[:1])
    if not own:
        for given in ({"costs": costs[:1]}, {"info_keys": keys[:1]}):
            with pytest.raises(ValueError, match="the vector environment was made without speed, and keeps no other"):
                make_vector_environment(made(), **given)


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (lambda number: {}, "environment 0 gave an info without the key 'speed': each step must give this cost"),
        (
            lambda number: {"speed": "high"},
            r"environment 0 gave a cost by info\['speed'\] that is not a number",
        ),
        (
            lambda number: {"speed": [1.0, 2.0]},
            r"environment 0 gave a cost by info\['speed'\] that is not a number",
        ),
    ],
)
@pytest.mark.parametrize("own", [False, True])
def test_a_step_without_its_cost_is_an_error_that_names_it(info, message, own):
    def make():
        return Walk(info)

    environment = SyncVectorEnv([make, make]) if own else make
    with pytest.raises(EnvironmentFailedError, match=message):
        rollout_of(make_vector_environment(environment, 2, costs=["speed"]))


def test_a_cost_that_is_not_finite_is_a_fault_of_the_step():
    environments = make_vector_environment(lambda: Walk(lambda number: {"speed": math.nan}), 2, costs=["speed"])
    with pytest.raises(
        InvalidStepError, match=r"environment 0 gave a cost that is not finite in float32 \(nan\), in row 0"
    ):
        rollout_of(environments)


def test_a_cost_function_that_raises_or_returns_no_number_is_named():
    def broken(*step):
        raise KeyError("x")

    def wordy(*step):
        return "high"

    for cost, message in ((broken, "a cost raised KeyError: 'x'"), (wordy, "a cost by .*wordy that is not a number")):
        with pytest.raises(EnvironmentFailedError, match=message):
            rollout_of(make_vector_environment(Walk, 2, costs=[cost]))


def test_cost_functions_are_found_only_in_modules_that_are_imported_already():
    name = f"{__name__}:rise"
    assert find_costs(["speed", name]) == ("speed", rise)
    assert cost_labels(["speed", name, "nested/heat"]) == ("speed", "rise", "nested/heat")
    with pytest.raises(ValueError, match="cost antigravity:fly has not been imported: import it bef"):
        find_costs(["antigravity:fly"])
    for wrong in (["speed", "speed"], [""], ["rise", rise]):
        with pytest.raises(ValueError, match="costs must be names that differ"):
            cost_labels(wrong)
    for wrong in ([3], ["speed", None], [b"speed"]):
        with pytest.raises(ValueError, match="costs must be names or functions, got"):
            cost_labels(wrong)


def test_an_error_of_the_costs_module_is_one_line(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "unlicensed_costs.py").write_text("raise RuntimeError('no licence found')")
    with pytest.raises(ValueError, match=r"unlicensed_costs:rise cannot be imported: RuntimeError: no licence found$"):
        import_costs(["speed", "unlicensed_costs:rise"])

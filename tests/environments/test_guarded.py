"""Values that an environment may return and those that it may not, with both backends."""

import contextlib

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from tf_trpo.environments import EnvironmentFailedError, make_vector_environment
from tf_trpo.environments.costs import COSTS

NEST = spaces.Dict(
    position=spaces.Box(-1, 1, (2,), np.float32), choice=spaces.Discrete(3, start=1), bits=spaces.MultiBinary(2)
)
ELEMENT = {"position": np.zeros(2, np.float32), "choice": 2, "bits": np.ones(2, np.int8)}


class Giving(gym.Env):
    """The second copy returns something else at its second step or when it is reset."""

    action_space = spaces.Discrete(2)

    def __init__(self, space, element, step, reset):
        self.observation_space, self.element, self.changes, self.first = space, element, step, reset

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return (self.element, {}) if self.first is None else self.first

    def step(self, action):
        self.steps += 1
        given = {"observation": self.element, "reward": 1.0, "terminated": False, "truncated": False, "info": {}}
        if self.steps == 2:
            if not isinstance(self.changes, dict):
                return self.changes
            given |= self.changes
        return tuple(given.values())


@pytest.fixture
def giving():
    """giving(backend, step, reset, space, element): two environments that are reset, unless that is to be tested."""
    with contextlib.ExitStack() as stack:

        def make(backend, step=None, reset=None, space=NEST, element=ELEMENT):
            made = iter(range(100))

            def one():
                # With the backend async, this process makes one environment before the processes make theirs.
                odd = next(made) == 1 or backend == "async"
                return Giving(space, element, step if odd else {}, reset if odd else None)

            environments = make_vector_environment(one, 2, backend=backend)
            stack.callback(environments.close)
            return environments

        yield make


def second_step(environments):
    environments.reset(seed=0)
    environments.step(np.zeros(2, np.int64))
    return environments.step(np.zeros(2, np.int64))


def nest(**changes):
    return {"observation": ELEMENT | changes}


BOX = spaces.Box(-1, 1, (2,), np.float32), np.zeros(2, np.float32)
WHOLE = spaces.Box(-5, 5, (2,), np.int8), np.zeros(2, np.int8)
WRONG = {
    "no reward": (*BOX, {"reward": None}, "a reward that is not a number, but None"),
    "two rewards": (*BOX, {"reward": np.zeros(2)}, r"a reward that is not a number, but an array of shape \(2,\)"),
    "terminated None": (*BOX, {"terminated": None}, "a value of terminated that is neither true nor false, but None"),
    "terminated text": (*BOX, {"terminated": "False"}, "a value of terminated that is neither .* but a str"),
    "truncated 0.5": (*BOX, {"truncated": 0.5}, "a value of truncated that is neither .*, but 0.5$"),
    "misshapen": (*BOX, {"observation": np.zeros(3)}, r"an observation of shape \(3,\), its space has \(2,\)"),
    "a number": (*BOX, {"observation": 1.0}, r"an observation of shape \(\), its space has \(2,\)"),
    "None": (*BOX, {"observation": None}, "an observation that holds no numbers, but None"),
    "ragged": (*BOX, {"observation": [[1.0], [1.0, 2.0]]}, "an observation that holds no numbers, but a list"),
    "floats for whole": (*WHOLE, {"observation": np.zeros(2)}, "an observation of type float64, its space has int8"),
    "too large": (*WHOLE, {"observation": np.array([0, 300])}, "an observation of type int64, its space has int8"),
    "a key too few": (NEST, ELEMENT, {"observation": {"position": 0}}, "a dict of position as an observation, its"),
    "a key too many": (NEST, ELEMENT, nest(more=1), "a dict of position, choice, bits, more as an observation, its"),
    "no dict": (NEST, ELEMENT, {"observation": np.zeros(3)}, "a ndarray as an observation, its space is a Dict of"),
    "misshapen part": (NEST, ELEMENT, nest(position=np.zeros(3)), r"position of the observation of shape \(3,\), its"),
    "a choice beyond": (NEST, ELEMENT, nest(choice=4), "choice of the observation that lies outside of its space: 4"),
    "a choice below": (NEST, ELEMENT, nest(choice=0), "choice of the observation that lies outside of its space: 0"),
    "a short tuple": (spaces.Tuple([BOX[0]] * 2), (BOX[1],) * 2, {"observation": (BOX[1],)}, "a tuple of 1 as an obs"),
    "four values": (*BOX, (BOX[1], 1.0, False, {}), r"a tuple of 4 for a step: step\(action\) must return"),
    "no tuple": (*BOX, BOX[1], r"a ndarray for a step: step\(action\) must return \(observation, reward, "),
    "no info": (*BOX, {"info": None}, r"an info that is not a dict, but None: step\(action\) must return"),
}


@pytest.mark.parametrize(
    ("name", "backend"),
    [*((name, "sync") for name in WRONG), *((name, "async") for name in ("two rewards", "misshapen part", "no info"))],
)
def test_a_wrong_value_of_a_step_is_a_failure_that_names_it(name, backend, giving):
    space, element, step, message = WRONG[name]
    who = "1" if backend == "sync" else "[01]"
    with pytest.raises(EnvironmentFailedError, match=f"^environment {who} gave {message}"):
        second_step(giving(backend, step, space=space, element=element))


class OldStyle(gym.Env):
    observation_space, action_space = BOX[0], spaces.Discrete(2)

    def reset(self):
        return np.zeros(2, np.float32), {}


@pytest.mark.parametrize(
    ("reset", "backend", "words"),
    [
        (BOX[1], "sync", "gave a ndarray"),
        ((BOX[1], BOX[1]), "sync", "gave an info that is not a dict, but a ndarray"),
        ((BOX[1], None), "sync", "gave an info that is not a dict, but None"),
        ((BOX[1],), "async", "gave a tuple of 1"),
        (None, "sync", "raised TypeError: .*"),
    ],
    ids=["alone", "pair", "no info", "one", "no seed"],
)
def test_a_reset_of_another_interface_is_a_failure_that_names_the_interface(reset, backend, words, giving):
    environments = (
        make_vector_environment(OldStyle, 2)
        if reset is None
        else giving(backend, {}, reset, space=BOX[0], element=BOX[1])
    )
    with pytest.raises(
        EnvironmentFailedError,
        match=rf" {words}: reset\(seed=\.\.\., options=\.\.\.\) must return \(observation, info\)$",
    ):
        environments.reset(seed=0)


FINE = {
    "one element": ({"reward": np.array([2.5])}, 2.5, False, False),
    "a whole number": ({"reward": 2}, 2.0, False, False),
    "true for one": ({"reward": np.True_, "terminated": 1}, 1.0, True, False),
    "numpy's": ({"reward": np.float32(0.5), "terminated": np.False_, "truncated": np.True_}, 0.5, False, True),
    "arrays": ({"reward": np.array(3), "terminated": np.array([True])}, 3.0, True, False),
}


@pytest.mark.parametrize(("name", "backend"), [*((name, "sync") for name in FINE), ("numpy's", "async")])
def test_numbers_of_any_type_are_accepted(name, backend, giving):
    changes, reward, terminated, truncated = FINE[name]
    step = second_step(giving(backend, changes, space=BOX[0], element=BOX[1]))
    assert [rows[1] for rows in step[1:4]] == [reward, terminated, truncated]
    assert [rows.dtype for rows in step[1:4]] == [np.float64, bool, bool]


@pytest.mark.parametrize(
    ("space", "given", "expected"),
    [
        (BOX[0], np.array([0.5, 1e300]), [0.5, np.inf]),
        (BOX[0], [1, 0], [1, 0]),
        (WHOLE[0], np.array([3, -4]), [3, -4]),
        (spaces.Box(0, 255, (2,), np.uint8), np.array([7, 255], np.int64), [7, 255]),
        (spaces.Discrete(4), np.array(3, np.int32), 3),
        (spaces.MultiBinary(2), np.array([True, False]), [1, 0]),
    ],
    ids=str,
)
def test_observations_of_another_precision_are_converted(space, given, expected):
    environments = make_vector_environment(lambda: Giving(space, given, {}, None), 1)
    observations, _ = environments.reset(seed=0)
    assert observations.dtype == space.dtype
    np.testing.assert_array_equal(observations, [expected])


class Scaling(gym.Env):
    """Changes its action in place."""

    observation_space = spaces.Box(-1e4, 1e4, (1,), np.float32)
    action_space = spaces.Dict(a=spaces.Box(-1, 1, (1,), np.float32), b=spaces.Discrete(3))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        assert isinstance(action["b"], np.integer)
        action["a"] *= 1000
        return action["a"].copy(), float(action["a"][0]), False, False, {}


def force(observation, action, reward, next_observation, info):
    return action["a"][0]


def test_an_environment_that_changes_its_action_changes_neither_its_cost_nor_the_callers_array():
    environments = make_vector_environment(Scaling, 2, costs=[force])
    environments.reset(seed=0)
    actions = {"a": np.float32([[0.5], [-0.25]]), "b": np.array([1, 2])}
    _, rewards, *_, infos = environments.step(actions)
    assert rewards.tolist() == [500.0, -250.0]
    assert infos[COSTS].tolist() == [[0.5], [-0.25]]
    assert actions["a"].tolist() == [[0.5], [-0.25]]

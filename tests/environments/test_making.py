"""Wrappers by name and by class, in order; numbers of infos at the end of episodes."""

import functools

import gymnasium as gym
import numpy as np
import pytest

from tf_trpo.environments import EnvironmentFailedError, make_vector_environment
from tf_trpo.environments.making import find_wrapper, wrapper_name


class Plus(gym.RewardWrapper):
    def reward(self, reward):
        return reward + 1.0


class Twice(gym.RewardWrapper):
    def reward(self, reward):
        return 2.0 * reward


class Game(gym.Env):
    """The first action gives the length of the episode; the reward is 1."""

    observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gym.spaces.Discrete(5)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = None
        return np.zeros(1, np.float32), {"is_success": True}

    def step(self, action):
        self.left = action if self.left is None else self.left - 1
        info = {"is_success": bool(action % 2), "episode": {"r": float(action)}, "words": "many"}
        if action == 4:
            info["rare"] = np.array([7])
        return np.zeros(1, np.float32), 1.0, self.left == 0, False, info


@pytest.mark.parametrize(
    ("environment", "wrappers", "backend", "reward"),
    [
        (Game, ["gymnasium:plus_for_tests", Twice], "sync", 4.0),
        (Game, [Twice, "gymnasium:plus_for_tests"], "sync", 3.0),
        (Game, (), "sync", 1.0),
        ("CartPole-v1", ["gymnasium:plus_for_tests", Twice], "async", 4.0),
    ],
)
def test_wrappers_are_applied_in_order(environment, wrappers, backend, reward, monkeypatch):
    monkeypatch.setattr(gym, "plus_for_tests", Plus, raising=False)
    environments = make_vector_environment(environment, 2, wrappers=wrappers, backend=backend)
    environments.reset(seed=0)
    np.testing.assert_array_equal(environments.step(np.ones(2, np.int64))[1], [reward, reward])
    environments.close()


NAMED = "module_of_named_environments"
NAMED_TEXT = """
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv, PendulumEnv

class Both(PendulumEnv):
    pass

def made(speed=8):
    env = PendulumEnv()
    env.max_speed = speed
    return env

def nothing():
    return []

if "Both" not in gymnasium.registry:
    gymnasium.register("Both", CartPoleEnv)
"""


def test_a_class_or_a_function_can_be_named_by_its_module(importable):
    importable(NAMED, NAMED_TEXT)
    for name, making in ((f"{NAMED}:PendulumEnv", {}), (f"{NAMED}:made", {"env_kwargs": {"speed": 3}})):
        environments = make_vector_environment(name, 2, **making)
        observations, _ = environments.reset(seed=0)
        assert observations.shape == (2, 3)
        if making:
            assert [env.unwrapped.max_speed for env in environments.unwrapped.envs] == [3, 3]
        environments.close()


def test_an_id_that_is_registered_comes_before_a_class_of_its_name(importable):
    importable(NAMED, NAMED_TEXT)
    try:
        environments = make_vector_environment(f"{NAMED}:Both")
        assert isinstance(environments.single_action_space, gym.spaces.Discrete)
        environments.close()
    finally:
        gym.registry.pop("Both")


@pytest.mark.parametrize(
    ("name", "making", "message"),
    [
        ("no_such_module:Room", {}, "the module of no_such_module:Room cannot be imported: No module named"),
        (f"{NAMED}:nothing", {}, rf"the function {NAMED}:nothing must make a gymnasium\.Env, it gave a list"),
        (f"{NAMED}:made", {"env_kwargs": {"size": 3}}, "cannot be made with the env_kwargs .+ unexpected keyword"),
    ],
)
def test_a_name_that_makes_no_environment_is_refused(name, making, message, importable):
    importable(NAMED, NAMED_TEXT)
    with pytest.raises(ValueError, match=message):
        make_vector_environment(name, **making)
    gym.registry.pop("Both", None)


@pytest.mark.parametrize("backend", ["sync", "async"])
def test_an_environment_without_a_space_is_refused(backend):
    class Spaceless(Game):
        def __init__(self):
            self.observation_space = None

    with pytest.raises(ValueError, match=r"^the environment's observation_space is None, which is not a Gymnasium sp"):
        make_vector_environment(Spaceless, backend=backend)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("Room", ValueError, "the module of broken_module:Room cannot be imported: NameError: name 'nmae' is not"),
        ("Room-v0", EnvironmentFailedError, "broken_module:Room-v0 cannot be made: NameError: name 'nmae' is not"),
    ],
)
def test_a_module_that_fails_when_it_is_imported_is_named(name, kind, message, importable):
    importable("broken_module", "nmae")
    with pytest.raises(kind, match=f"^{message}"):
        make_vector_environment(f"broken_module:{name}")


@pytest.mark.parametrize(
    ("wrappers", "message"),
    [
        (["no_such_module:Wrapper"], "the wrapper no_such_module:Wrapper cannot be imported: No module named"),
        (["gymnasium:NoSuchWrapper"], "the wrapper gymnasium:NoSuchWrapper cannot be imported: module 'gymnasium' has"),
        (["gymnasium"], "a wrapper is named by module:Class, got 'gymnasium'"),
        (["gymnasium:__version__"], "the wrapper gymnasium:__version__ is not a class or function"),
        ("gymnasium:Wrapper", "wrappers must be list or tuple, got 'gymnasium:Wrapper'"),
        (gym.Wrapper, "wrappers must be list or tuple, got <class"),
        ([lambda env: None], "must give a gymnasium.Env, it gave a NoneType"),
        (["unlicensed:Wrapper"], "the wrapper unlicensed:Wrapper cannot be imported: SystemExit: no licence found"),
    ],
    ids=["module", "name", "no name", "no class", "no sequence", "no list", "no environment", "its own error"],
)
def test_a_wrapper_that_cannot_be_found_is_refused(wrappers, message, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "unlicensed.py").write_text("import sys\nsys.exit('no licence found')")
    with pytest.raises((TypeError, ValueError), match=message):
        make_vector_environment(Game, wrappers=wrappers)


def test_a_wrapper_has_the_same_name_in_every_process():
    assert wrapper_name("a.b:C") == "a.b:C"
    assert wrapper_name(Plus) == f"{__name__}:Plus"
    assert wrapper_name(functools.partial(Plus, 4, last=None, first="a")) == f"{__name__}:Plus(4, first='a', last=None)"
    assert "0x" not in wrapper_name(functools.partial(Plus, object()))
    assert wrapper_name(functools.partial(Plus, 4)) != wrapper_name(functools.partial(Plus, 5))
    assert find_wrapper(wrapper_name(gym.wrappers.ClipReward)) is gym.wrappers.ClipReward


def test_arguments_for_making_environments_are_refused_with_a_vector_environment():
    ready = gym.vector.SyncVectorEnv([Game])
    for name, value in {
        "wrappers": [Plus],
        "action_masks": "off",
        "env_kwargs": {"a": 1},
        "backend": "async",
        "num_envs": 2,
        "timeout": 3.0,
    }.items():
        with pytest.raises(ValueError, match=f"^{name} would have no effect: the environments of the vector environm"):
            make_vector_environment(ready, **{name: value})
    assert make_vector_environment(gym.vector.SyncVectorEnv([Game] * 2), 2, env_kwargs={}).num_envs == 2
    for name, value in {"info_keys": "is_success", "env_kwargs": [1], "num_envs": 2.0}.items():
        with pytest.raises(TypeError, match=f"^{name} must be "):
            make_vector_environment(Game, **{name: value})
    with pytest.raises(ValueError, match="the backend envpool takes no wrappers"):
        make_vector_environment("CartPole-v1", backend="envpool", wrappers=[Plus])
    with pytest.raises(ValueError, match=r"the function must make a gymnasium\.Env, it gave a list"):
        make_vector_environment(list)


KEYS = ["is_success", "episode/r", "rare", "absent"]


class Clock(gym.vector.VectorWrapper):
    """Adds an entry to the infos that belongs to all environments together."""

    def step(self, actions):
        *step, infos = self.env.step(actions)
        return (*step, {**infos, "time": 0.5})


@pytest.mark.parametrize("kind", ["sync", "async", "NextStep", "SameStep"])
def test_numbers_of_infos_are_returned_only_at_the_end_of_episodes(kind):
    if kind in ("sync", "async"):
        environments = make_vector_environment(Game, 3, backend=kind, info_keys=KEYS)
    else:
        environments = make_vector_environment(
            Clock(gym.vector.SyncVectorEnv([Game] * 3, autoreset_mode=kind)), info_keys=KEYS
        )
    try:
        environments.reset(seed=0)
        # The episode of the first environment has one step, those of the others continue.
        found = environments.step(np.array([0, 4, 3]))
        nan = np.nan
        expected = {"is_success": [0, nan, nan], "episode/r": [0, nan, nan], "rare": [nan] * 3, "absent": [nan] * 3}
        assert found[4].keys() == expected.keys()
        for key, values in expected.items():
            assert found[4][key].dtype == np.float64
            np.testing.assert_array_equal(found[4][key], values)
        # The info of the row after the end of an episode is that of a reset.
        assert "is_success" not in environments.step(np.array([1, 1, 1]))[4]
        figures = {}
        for _ in range(8):
            step = environments.step(np.array([4, 4, 4]))
            assert ("rare" in step[4]) == bool(step[2].any())
            for index in np.flatnonzero(step[2]):
                figures[index] = [step[4][key][index] for key in KEYS]
        np.testing.assert_array_equal(figures[1], [0, 4, 7, nan])
    finally:
        environments.close()


def test_without_keys_infos_are_empty():
    environments = make_vector_environment(Game, 2)
    environments.reset(seed=0)
    assert environments.step(np.zeros(2, np.int64))[4] == {}


@pytest.mark.parametrize("ready", [False, True])
def test_an_info_that_is_not_a_number_is_a_failure(ready):
    vector = gym.vector.SyncVectorEnv([Game]) if ready else Game
    environments = make_vector_environment(vector, info_keys=["words"])
    environments.reset(seed=0)
    with pytest.raises(EnvironmentFailedError, match=r"0 gave an info\['words'\] that is not a number, but a str"):
        environments.step(np.zeros(1, np.int64))

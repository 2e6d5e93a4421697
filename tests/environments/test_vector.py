"""Making vector environments from ids, factories and the user's; spaces; refusals."""

import contextlib
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from tf_trpo.environments import EnvironmentFailedError, make_vector_environment, open_vector_environment

VECTORS = {"sync": SyncVectorEnv, "async": AsyncVectorEnv}


class Breaking(gym.Env):
    """Fails when it is closed."""

    observation_space, action_space = spaces.Discrete(2), spaces.Discrete(2)
    closed = 0

    def reset(self, *, seed=None, options=None):
        return 0, {}

    def close(self):
        type(self).closed += 1
        raise BrokenPipeError("the simulator is gone")


def odd(env=None):
    raise ValueError("size must be even")


class Constant(gym.Env):
    """Always returns the same observation."""

    def __init__(self, observation_space=None, observation=None, action_space=None):
        self.observation_space = spaces.Box(-1, 1, (2,)) if observation_space is None else observation_space
        self.action_space = spaces.Discrete(2) if action_space is None else action_space
        self._observation = np.zeros(2, np.float32) if observation is None else observation
        self.closed = False

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._observation, {}

    def step(self, action):
        return self._observation, 0.0, False, False, {}

    def close(self):
        self.closed = True


@pytest.mark.parametrize("backend", VECTORS)
@pytest.mark.parametrize(("environment", "size"), [("CartPole-v1", 4), (Constant, 2)], ids=["id", "factory"])
def test_there_are_num_envs_environments_in_next_step_mode(environment, size, backend):
    environments = make_vector_environment(environment, 3, backend=backend)
    try:
        # CartPole has its own vector class, which is not used here.
        assert isinstance(environments, VECTORS[backend])
        assert environments.num_envs == 3
        assert environments.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
        assert environments.reset(seed=0)[0].shape == (3, size)
    finally:
        environments.close()
    assert make_vector_environment(environment).num_envs == 1


def test_a_factory_makes_each_environment_and_takes_no_env_kwargs():
    environments = make_vector_environment(Constant, 3)
    assert len({id(environment.unwrapped) for environment in environments.envs}) == 3
    assert make_vector_environment("Pendulum-v1", 2, env_kwargs={"g": 1.5}).get_attr("g") == (1.5, 1.5)
    with pytest.raises(ValueError, match="env_kwargs go with an environment id"):
        make_vector_environment(Constant, env_kwargs={"g": 1.5})


@pytest.mark.parametrize("backend", VECTORS)
def test_an_environment_that_cannot_be_closed_hides_no_error(backend, caplog):
    with (  # noqa: PT012  the context must end by the exception
        pytest.raises(LookupError, match="the real one"),
        open_vector_environment(Breaking, 3, backend=backend) as environments,
    ):
        environments.reset(seed=0)
        raise LookupError("the real one")
    if backend == "sync":
        assert Breaking.closed == 3
        assert "environment 2 raised BrokenPipeError: the simulator is gone when it was closed" in caplog.text


@pytest.mark.parametrize(
    "making",
    [
        {"environment": odd},
        {"environment": odd, "backend": "async"},
        {"environment": Constant, "wrappers": [odd]},
        {"environment": "Odd-v0"},
        {"environment": "Odd-v0", "backend": "vector"},
    ],
    ids=["sync", "async", "wrapper", "id", "vector"],
)
def test_what_a_constructor_raises_is_a_failure_of_the_environment(making):
    gym.register("Odd-v0", entry_point=odd, vector_entry_point=lambda num_envs: odd())
    try:
        with pytest.raises(EnvironmentFailedError, match=r"cannot be made: ValueError: size must be even$"):
            make_vector_environment(**making)
    finally:
        del gym.registry["Odd-v0"]


@pytest.mark.parametrize("mode", [None, "sometimes"])
def test_a_vector_environment_that_does_not_say_how_it_resets_is_refused(mode):
    ready = SyncVectorEnv([Constant])
    ready.metadata = {"autoreset_mode": mode}
    with pytest.raises(ValueError, match=rf"does not say how it resets: .* is {mode}, and must be NEXT_STEP"):
        make_vector_environment(ready)


def test_refused_environments_are_closed_except_the_callers():
    refused = [Constant(spaces.Text(3)) for _ in range(2)]
    with pytest.raises(ValueError, match="which is text"):
        make_vector_environment(lambda: refused[0])
    with pytest.raises(ValueError, match="which is text"):
        make_vector_environment(SyncVectorEnv([lambda: refused[1]]))
    assert [environment.closed for environment in refused] == [True, False]


def test_if_one_environment_cannot_be_made_those_before_it_are_closed():
    made = []

    def make():
        if len(made) == 2:
            raise OSError("the port is in use")
        made.append(Constant())
        return made[-1]

    with pytest.raises(EnvironmentFailedError, match="the port is in use"):
        make_vector_environment(make, 3)
    assert [environment.closed for environment in made] == [True, True]


def test_a_wrapper_is_closed_if_the_next_one_fails():
    closed = []

    class Noted(gym.Wrapper):
        def close(self):
            closed.append(self)
            super().close()

    with pytest.raises(EnvironmentFailedError, match="size must be even"):
        make_vector_environment(Constant, wrappers=[Noted, odd])
    assert len(closed) == 1


def test_environments_are_closed_at_the_end_of_the_context_except_the_callers():
    inside = [Constant(), Constant()]
    with open_vector_environment(lambda: inside[0], 1), open_vector_environment(SyncVectorEnv([lambda: inside[1]]), 1):
        assert not any(environment.closed for environment in inside)
    assert [environment.closed for environment in inside] == [True, False]


def test_an_object_that_is_not_an_environment_is_refused():
    with pytest.raises(ValueError, match=r"given by its Gymnasium id.*Constant is none of these"):
        make_vector_environment(Constant())


NESTS = {
    "box": (spaces.Box(-9, 9, (2,), np.float64), np.array([1.5, -2.0])),
    "image": (spaces.Box(0, 255, (6, 5, 3), np.uint8), np.full((6, 5, 3), 7, np.uint8)),
    "discrete that starts at 5": (spaces.Discrete(3, start=5), 6),
    "multidiscrete": (spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[0, 1], [0, 0]]), np.array([[1, 3], [0, 4]])),
    "multibinary": (spaces.MultiBinary(3), np.array([1, 0, 1], np.int8)),
    "tuple": (
        spaces.Tuple([spaces.Discrete(2), spaces.Box(-9, 9, (2,))]),
        (1, np.array([3.5, -2.0], np.float32)),
    ),
    "dict": (
        spaces.Dict(z=spaces.Discrete(2), a=spaces.Dict(b=spaces.Tuple([spaces.MultiBinary(2)]))),
        {"a": {"b": (np.array([0, 1], np.int8),)}, "z": 0},
    ),
}


every_space, every_element = zip(*NESTS.values(), strict=True)
NESTS["everything"] = spaces.Tuple(every_space), every_element


def stacked(space, element, size=2):
    """A batch of equal elements, stacked by Gymnasium."""
    if isinstance(space, spaces.Dict):
        return {name: stacked(part, element[name]) for name, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(stacked(part, value) for part, value in zip(space.spaces, element, strict=True))
    return np.array([element] * size, space.dtype)


def assert_same(nest, expected):
    """Assert that two nests have equal structures and equal arrays of equal dtypes."""
    assert isinstance(nest, type(expected))
    if isinstance(expected, np.ndarray):
        np.testing.assert_array_equal(nest, expected, strict=True)
        return
    assert len(nest) == len(expected)
    for name in expected if isinstance(expected, dict) else range(len(expected)):
        assert_same(nest[name], expected[name])


class Echo(Constant):
    """The reward is 1 in steps whose action is the expected one."""

    def __init__(self, space, element):
        super().__init__(space, element, action_space=space)
        self.element, self.space = element, space

    def step(self, action):
        if not self.space.contains(action):
            raise ValueError(f"{action!r} does not lie in {self.space}")
        same = spaces.flatten(self.space, action) == spaces.flatten(self.space, self.element)
        return self.element, float(same.all()), False, False, {}


@pytest.mark.parametrize(("name", "backend"), [*((name, "sync") for name in NESTS), ("everything", "async")])
def test_observations_and_actions_are_nests_of_arrays_with_the_dtypes_of_the_spaces(name, backend):
    space, element = NESTS[name]
    environments = make_vector_environment(lambda: Echo(space, element), 2, backend=backend)
    try:
        assert environments.single_observation_space == environments.single_action_space == space
        batch = stacked(space, element)
        assert_same(environments.reset(seed=0)[0], batch)
        observations, rewards, *_ = environments.step(batch)
        assert_same(observations, batch)
        np.testing.assert_array_equal(rewards, [1.0, 1.0])
    finally:
        environments.close()


@pytest.mark.parametrize("backend", ["sync", "async"])
def test_observations_without_a_fixed_size_are_refused(backend):
    space = spaces.Dict(a=spaces.Sequence(spaces.Discrete(2)))
    with pytest.raises(ValueError, match="a of the observation is Sequence, which has no fixed size"):
        make_vector_environment(lambda: Constant(space, space.sample()), backend=backend)


def test_fewer_than_one_environment_and_an_unknown_backend_are_refused():
    with pytest.raises(ValueError, match="num_envs must be at least 1, got 0"):
        make_vector_environment("CartPole-v1", 0)
    with pytest.raises(ValueError, match="backend must be one of sync, async, envpool, vector, got 'ray'"):
        make_vector_environment("CartPole-v1", backend="ray")


def test_an_unknown_id_raises_the_error_of_gymnasium():
    with pytest.raises(gym.error.NameNotFound, match="CartPoole"):
        make_vector_environment("CartPoole-v1")
    with pytest.raises(gym.error.VersionNotFound, match="v99"):
        make_vector_environment("CartPole-v99")


def test_envpool_must_be_installed_and_takes_ids_only(monkeypatch):
    with pytest.raises(ValueError, match="EnvPool makes environments from ids only"):
        make_vector_environment(Constant, backend="envpool")
    monkeypatch.setitem(sys.modules, "envpool", None)
    with pytest.raises(ImportError, match=r'envpool is not installed; .+: pip install -e "\.\[envpool\]"'):
        make_vector_environment("CartPole-v1", backend="envpool")


def test_the_backend_vector_steps_the_vector_entry_point():
    """CartPole's vector class and single class have the same physics, so equal states and actions have equal steps."""
    together, single = make_vector_environment("CartPole-v1", 5, backend="vector"), gym.make("CartPole-v1").unwrapped
    single.reset(seed=0)
    together.reset(seed=1)
    rng, ended, ends = np.random.default_rng(0), np.zeros(5, bool), 0
    for _ in range(200):
        states, actions = together.unwrapped.state.T.copy(), rng.integers(0, 2, 5)
        observations, rewards, terminated, _, _ = together.step(actions)
        for index in np.flatnonzero(~ended):
            single.state, single.steps_beyond_terminated = tuple(states[index]), None
            expected, reward, ends_here, _, _ = single.step(actions[index])
            np.testing.assert_allclose(observations[index], expected, rtol=1e-6)
            assert (rewards[index], terminated[index]) == (reward, ends_here)
        # The row after the end of an episode is a reset.
        assert (np.abs(observations[ended]) <= 0.05).all()
        ended, ends = terminated, ends + terminated.sum()
    assert ends > 5
    together.close()


def test_the_backend_vector_imports_the_module_of_an_id(importable):
    is_imported = importable(
        "registers",
        "import gymnasium as gym\nfrom gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv\n"
        "gym.register('Poles-v0', vector_entry_point=CartPoleVectorEnv)\n",
    )
    try:
        with contextlib.closing(make_vector_environment("registers:Poles-v0", 2, backend="vector")) as together:
            assert together.reset(seed=0)[0].shape == (2, 4)
        assert is_imported()
    finally:
        gym.registry.pop("Poles-v0", None)
    with pytest.raises(ValueError, match="the module of missing:Poles-v0 cannot be imported"):
        make_vector_environment("missing:Poles-v0", 2, backend="vector")


def test_the_backend_vector_takes_ids_with_a_vector_entry_point_only():
    with pytest.raises(ValueError, match="from ids only"):
        make_vector_environment(Constant, backend="vector")
    with pytest.raises(ValueError, match="'Pendulum-v1' is registered without a vector_entry_point"):
        make_vector_environment("Pendulum-v1", backend="vector")
    with pytest.raises(ValueError, match="the backend vector takes no wrappers"):
        make_vector_environment("CartPole-v1", backend="vector", wrappers=[gym.wrappers.ClipAction])
    with pytest.raises(ValueError, match="is a function of a step, which environments that are stepped together"):
        make_vector_environment("CartPole-v1", backend="vector", costs=[lambda *step: 0.0])
    with pytest.raises(ValueError, match=r"CartPole-v1 cannot be made with the env_kwargs .+ unexpected keyword"):
        make_vector_environment("CartPole-v1", backend="vector", env_kwargs={"size": 3})


def test_environments_do_not_import_tensorflow():
    """Nor do their processes, if these begin with an import."""
    program = (
        "import sys, tf_trpo.environments, tf_trpo.environments.processes\n"
        "print([name for name in ('tensorflow', 'keras', 'tensorflow_probability') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout == "[]\n", done.stderr

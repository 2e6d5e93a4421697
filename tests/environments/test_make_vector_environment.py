"""Making vector environments: from ids, factories and ready ones; flattening; what is refused."""

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from tf_trpo.environments import make_vector_environment, open_vector_environment

VECTORS = {"sync": SyncVectorEnv, "async": AsyncVectorEnv}


class Constant(gym.Env):
    """Always gives one observation."""

    def __init__(self, observation_space=None, observation=None, action_space=None):
        self.observation_space = observation_space or spaces.Box(-1, 1, (2,))
        self.action_space = action_space or spaces.Discrete(2)
        self._observation = np.zeros(2, np.float32) if observation is None else observation
        self.closed = False

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._observation, {}

    def step(self, action):
        return self._observation, 0.0, False, False, {}

    def close(self):
        self.closed = True


class OwnVector(VectorEnv):
    """A vector environment that says nothing about how it resets."""

    def __init__(self, metadata):
        self.metadata = metadata
        self.num_envs = 2
        self.single_observation_space = spaces.Box(-1, 1, (2,))
        self.single_action_space = spaces.Discrete(2)


@pytest.mark.parametrize("backend", VECTORS)
@pytest.mark.parametrize(("environment", "size"), [("CartPole-v1", 4), (Constant, 2)], ids=["id", "factory"])
def test_environments_are_as_many_as_asked_for_and_reset_in_the_next_step(environment, size, backend):
    environments = make_vector_environment(environment, 3, backend=backend)
    try:
        # CartPole has a vector class of its own, which is not asked for.
        assert isinstance(environments, VECTORS[backend])
        assert environments.num_envs == 3
        assert environments.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
        assert environments.reset(seed=0)[0].shape == (3, size)
    finally:
        environments.close()
    assert make_vector_environment(environment).num_envs == 1


def test_a_factory_makes_a_new_environment_for_each_copy():
    environments = make_vector_environment(Constant, 3)
    assert len({id(environment.unwrapped) for environment in environments.envs}) == 3


def test_arguments_reach_the_environment():
    environments = make_vector_environment("Pendulum-v1", 2, env_kwargs={"g": 1.5})
    assert environments.get_attr("g") == (1.5, 1.5)


def test_arguments_for_a_factory_are_refused():
    with pytest.raises(ValueError, match="env_kwargs go with an environment id"):
        make_vector_environment(Constant, env_kwargs={"g": 1.5})


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.DISABLED, None])
def test_another_autoreset_mode_is_refused_with_what_to_do(mode):
    ready = OwnVector(metadata={} if mode is None else {"autoreset_mode": mode})
    with pytest.raises(ValueError, match=rf"{mode}.*only NEXT_STEP is supported.*autoreset_mode="):
        make_vector_environment(ready)


def test_a_vector_class_of_ones_own_with_the_right_autoreset_is_taken():
    for ready in (SyncVectorEnv([Constant]), OwnVector(metadata={"autoreset_mode": AutoresetMode.NEXT_STEP})):
        assert make_vector_environment(ready) is ready


@pytest.mark.parametrize(
    "action_space",
    [
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiBinary(3),
        spaces.Dict(a=spaces.Discrete(2)),
        spaces.Tuple([spaces.Discrete(2)]),
        spaces.Text(3),
    ],
    ids=lambda space: type(space).__name__,
)
@pytest.mark.parametrize("ready", [False, True], ids=["factory", "ready"])
def test_other_actions_are_refused_and_the_supported_ones_named(action_space, ready):
    def make():
        return Constant(action_space=action_space)

    with pytest.raises(ValueError, match="not supported: only Box and Discrete are") as error:
        make_vector_environment(SyncVectorEnv([make]) if ready else make)
    assert str(action_space) in str(error.value)


def test_a_box_of_integer_actions_is_refused():
    with pytest.raises(ValueError, match="a Box of actions must hold floats"):
        make_vector_environment(lambda: Constant(action_space=spaces.Box(0, 3, (2,), np.int32)))


def test_environments_that_are_refused_are_closed_but_for_the_callers_own():
    refused = [Constant(action_space=spaces.MultiBinary(3)) for _ in range(2)]
    with pytest.raises(ValueError, match="not supported"):
        make_vector_environment(lambda: refused[0])
    with pytest.raises(ValueError, match="not supported"):
        make_vector_environment(SyncVectorEnv([lambda: refused[1]]))
    assert [environment.closed for environment in refused] == [True, False]


def test_environments_are_closed_at_the_end_of_their_block_but_for_the_callers_own():
    inside = [Constant(), Constant()]
    with open_vector_environment(lambda: inside[0], 1), open_vector_environment(SyncVectorEnv([lambda: inside[1]]), 1):
        assert not any(environment.closed for environment in inside)
    assert [environment.closed for environment in inside] == [True, False]


def test_something_else_than_an_environment_is_refused():
    with pytest.raises(ValueError, match=r"given by its Gymnasium id.*Constant is none of these"):
        make_vector_environment(Constant())


@pytest.mark.parametrize("action_space", [spaces.Box(-1, 1, (2,), np.float64), spaces.Discrete(3, start=-1)], ids=str)
def test_boxes_of_floats_and_discrete_actions_are_taken(action_space):
    environments = make_vector_environment(lambda: Constant(action_space=action_space))
    assert environments.single_action_space == action_space


FLATTENED = {
    "discrete": (spaces.Discrete(4), 2, [0, 0, 1, 0]),
    "discrete that starts at 5": (spaces.Discrete(3, start=5), 6, [0, 1, 0]),
    "multidiscrete": (spaces.MultiDiscrete([2, 3]), np.array([1, 0]), [0, 1, 1, 0, 0]),
    "multibinary": (spaces.MultiBinary(3), np.array([1, 0, 1], np.int8), [1, 0, 1]),
    "tuple": (
        spaces.Tuple([spaces.Discrete(2), spaces.Box(-9, 9, (2,))]),
        (1, np.array([3.5, -2.0], np.float32)),
        [0, 1, 3.5, -2],
    ),
    "dict": (
        spaces.Dict(z=spaces.Discrete(2), a=spaces.Box(-9, 9, (2, 2))),
        {"a": np.array([[1.5, 2], [3, 4]], np.float32), "z": 0},
        [1, 0, 1.5, 2, 3, 4],
    ),
}


@pytest.mark.parametrize("backend", ["sync", "async"])
@pytest.mark.parametrize(("space", "observation", "flat"), FLATTENED.values(), ids=FLATTENED)
def test_other_observations_are_flattened_and_discrete_parts_one_hot(space, observation, flat, backend):
    environments = make_vector_environment(lambda: Constant(space, observation), 2, backend=backend)
    try:
        assert environments.single_observation_space.shape == (len(flat),)
        observations, _ = environments.reset(seed=0)
        np.testing.assert_array_equal(observations, [flat, flat])
        observations = environments.step(np.zeros(2, np.int64))[0]
        np.testing.assert_array_equal(observations, [flat, flat])
    finally:
        environments.close()


def test_images_keep_their_shape():
    space = spaces.Box(0, 255, (4, 5, 3), np.uint8)
    environments = make_vector_environment(lambda: Constant(space, np.full((4, 5, 3), 7, np.uint8)), 2)
    assert environments.single_observation_space.shape == (4, 5, 3)
    assert environments.reset(seed=0)[0].shape == (2, 4, 5, 3)


@pytest.mark.parametrize(
    "space",
    [spaces.Sequence(spaces.Discrete(2)), spaces.Graph(spaces.Box(-1, 1, (2,)), None)],
    ids=lambda space: type(space).__name__,
)
def test_observations_without_a_fixed_size_are_refused(space):
    with pytest.raises(
        ValueError, match=r"the observation space .* is not supported, since it has no fixed size: only Box"
    ):
        make_vector_environment(lambda: Constant(space, space.sample()))


@pytest.mark.parametrize("num_envs", [0, -1])
@pytest.mark.parametrize("backend", ["sync", "async", "envpool"])
def test_fewer_than_one_environment_is_refused(num_envs, backend):
    with pytest.raises(ValueError, match=f"num_envs must be at least 1, got {num_envs}"):
        make_vector_environment("CartPole-v1", num_envs, backend=backend)


@pytest.mark.parametrize("environment", ["CartPole-v1", Constant], ids=["id", "factory"])
def test_an_unknown_backend_is_refused_and_the_known_ones_named(environment):
    with pytest.raises(ValueError, match='"sync", "async" or "envpool", got \'ray\''):
        make_vector_environment(environment, backend="ray")


def test_an_unknown_id_raises_the_error_of_gymnasium():
    with pytest.raises(gym.error.NameNotFound, match="CartPoole"):
        make_vector_environment("CartPoole-v1")
    with pytest.raises(gym.error.VersionNotFound, match="v99"):
        make_vector_environment("CartPole-v99")


def test_without_envpool_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "envpool", None)
    with pytest.raises(ImportError, match=r'EnvPool is not installed: pip install "tf_trpo\[envpool\]"'):
        make_vector_environment("CartPole-v1", backend="envpool")


def test_envpool_takes_ids_only():
    with pytest.raises(ValueError, match="EnvPool makes environments from ids only"):
        make_vector_environment(Constant, backend="envpool")


def test_environments_do_not_wait_for_tensorflow():
    """Nor do the processes that they run in, where those begin with an import."""
    program = (
        "import sys, tf_trpo.environments, tf_trpo.environments.processes\n"
        "print([name for name in ('tensorflow', 'keras', 'tensorflow_probability') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout == "[]\n", done.stderr

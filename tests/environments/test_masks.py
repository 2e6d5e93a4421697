"""Action masks from methods and infos; observations without text."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from tf_trpo.environments import EnvironmentFailedError, WithoutText, make_vector_environment
from tf_trpo.spaces import mask_of, observation_spec

CHOICES = {
    "discrete": (spaces.Discrete(3), 3),
    "multidiscrete": (spaces.MultiDiscrete([2, 3]), 5),
    "multibinary": (spaces.MultiBinary(2), 4),
    "integers": (spaces.Box(np.array([-1, 4]), np.array([1, 5]), dtype=np.int64), 5),
}


class Walking(gym.Env):
    """The mask of a state is its number in binary digits; episodes have five steps."""

    observation_space = spaces.Discrete(8)

    def __init__(self, action_space, size, *, in_info=False):
        self.action_space, self.size, self.in_info = action_space, size, in_info

    def mask(self):
        return np.array([self.time >> bit & 1 for bit in range(self.size)], np.int8)

    def info(self):
        return {"action_mask": self.mask()} if self.in_info else {}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 1
        return self.time, self.info()

    def step(self, action):
        self.time += 1
        return self.time, 0.0, self.time == 6, False, self.info() if self.time < 6 else {}


class WithMethod(Walking):
    def action_masks(self):
        # sb3-contrib's environments may give a list, of booleans or of arrays.
        return self.mask().astype(bool).tolist()


def rows(environments, actions, count):
    observations = [environments.reset(seed=0)[0]]
    for _ in range(count):
        observations.append(environments.step(actions)[0])
        observations[-1] = {name: part.copy() for name, part in observations[-1].items()}
    return observations


@pytest.mark.parametrize(
    ("name", "source", "backend"),
    [*((name, source, "sync") for name in CHOICES for source in ("auto", "info")), ("multidiscrete", "auto", "async")],
)
def test_the_mask_of_each_state_is_part_of_its_observation(name, source, backend):
    action_space, size = CHOICES[name]

    def make():
        if source == "auto":
            return WithMethod(action_space, size)
        return gym.wrappers.TimeLimit(Walking(action_space, size, in_info=True), 100)

    environments = make_vector_environment(make, 2, backend=backend, action_masks=source)
    try:
        spec = observation_spec(environments.single_observation_space)
        assert {name: part.kind for name, part in spec.items()} == {"observation": "one-hot", "action_mask": "mask"}
        actions = np.stack([np.zeros(action_space.shape, action_space.dtype)] * 2)
        for observation, time in zip(rows(environments, actions, 8)[1:], [2, 3, 4, 5, 6, 1, 2, 3], strict=True):
            np.testing.assert_array_equal(observation["observation"], [time, time])
            mask = [time >> bit & 1 for bit in range(size)]
            # The last info of an episode has no mask, so all actions are allowed.
            expected = [1] * size if time == 6 and source == "info" else mask
            np.testing.assert_array_equal(mask_of(spec, observation), [expected] * 2)
            assert observation["action_mask"].dtype == np.int8
    finally:
        environments.close()


def test_a_dict_gets_an_entry_unless_it_has_it_already():
    class OfDict(WithMethod):
        observation_space = spaces.Dict(time=spaces.Discrete(8))

        def reset(self, **kwargs):
            observation, info = super().reset(**kwargs)
            return {"time": observation}, info

    class Masked(WithMethod):
        observation_space = spaces.Dict(action_mask=spaces.MultiBinary(3), time=spaces.Discrete(8))

    environments = make_vector_environment(lambda: OfDict(spaces.Discrete(3), 3))
    observations, _ = environments.reset(seed=0)
    assert list(observations) == ["action_mask", "time"]
    np.testing.assert_array_equal(observations["action_mask"], [[1, 0, 0]])
    made = make_vector_environment(lambda: Masked(spaces.Discrete(3), 3))
    assert made.single_observation_space == Masked.observation_space
    with pytest.raises(ValueError, match='has an entry "action_mask" already'):
        make_vector_environment(lambda: Masked(spaces.Discrete(3), 3), action_masks="info")


def test_masks_can_be_switched_off_and_infos_are_used_only_on_request():
    for source, env in (("off", WithMethod), ("auto", Walking)):
        made = make_vector_environment(lambda env=env: env(spaces.Discrete(3), 3, in_info=True), action_masks=source)
        assert made.single_observation_space == spaces.Discrete(8)


def test_taxi_gives_its_mask_on_request():
    environments = make_vector_environment("Taxi-v4", 3, action_masks="info")
    alone = gym.make("Taxi-v4").unwrapped
    observations, _ = environments.reset(seed=0)
    for _ in range(30):
        expected = [alone.action_mask(int(state)) for state in observations["observation"]]
        np.testing.assert_array_equal(observations["action_mask"], expected)
        allowed = [np.flatnonzero(mask)[-1] for mask in expected]
        observations, *_ = environments.step(np.array(allowed))


@pytest.mark.parametrize(
    ("make", "source", "kind", "message"),
    [
        (
            lambda: WithMethod(spaces.Box(-1, 1, (2,)), 3),
            "auto",
            ValueError,
            'only actions that are Discrete, .* action_masks must be "off"',
        ),
        (
            lambda: WithMethod(spaces.Box(0, 1000, (2,), np.int64), 3),
            "auto",
            ValueError,
            "a Box of integers with at most 1000 values each can be masked, not those of Box",
        ),
        (lambda: Walking(spaces.Discrete(3), 3), "info", EnvironmentFailedError, r'there is no info\["action_mask"\]'),
        (lambda: WithMethod(spaces.Discrete(4), 3), "auto", EnvironmentFailedError, "must be 4 times 0 or 1"),
        (lambda: Walking(spaces.Discrete(3), 3), "yes", ValueError, "must be one of auto, info, off, got 'yes'"),
    ],
)
def test_impossible_masks_are_refused(make, source, kind, message):
    with pytest.raises(kind, match=message):
        make_vector_environment(make, action_masks=source).reset(seed=0)


MISSION = spaces.Text(20)
TEXTS = {
    "dict": (
        spaces.Dict(image=spaces.Discrete(4), mission=MISSION),
        {"image": 3, "mission": "go"},
        spaces.Dict(image=spaces.Discrete(4)),
        {"image": 3},
    ),
    "tuple": (
        spaces.Tuple([MISSION, spaces.Discrete(4), spaces.Dict(a=MISSION)]),
        ("go", 3, {"a": "on"}),
        spaces.Tuple([spaces.Discrete(4)]),
        (3,),
    ),
    "nested": (
        spaces.Dict(a=spaces.Tuple([MISSION, spaces.Discrete(4)]), b=spaces.MultiBinary(2)),
        {"a": ("go", 1), "b": [0, 1]},
        spaces.Dict(a=spaces.Tuple([spaces.Discrete(4)]), b=spaces.MultiBinary(2)),
        {"a": (1,), "b": [0, 1]},
    ),
}


class Talking(gym.Env):
    action_space = spaces.Discrete(2)

    def __init__(self, space, element):
        self.observation_space, self.element = space, element

    def reset(self, *, seed=None, options=None):
        return self.element, {}

    def step(self, action):
        return self.element, 0.0, False, False, {}


@pytest.mark.parametrize("name", TEXTS)
def test_text_is_removed(name):
    space, element, left, rest = TEXTS[name]
    without = WithoutText(Talking(space, element))
    assert without.observation_space == left
    assert without.reset(seed=0)[0] == rest == without.step(0)[0]
    make_vector_environment(lambda: Talking(space, element), wrappers=["tf_trpo.environments:WithoutText"]).reset(
        seed=0
    )


def test_an_observation_of_text_only_is_refused():
    with pytest.raises(ValueError, match="holds nothing but text"):
        WithoutText(Talking(spaces.Dict(a=MISSION), {"a": "go"}))


def test_missions_of_minigrid_are_removed():
    pytest.importorskip("minigrid")
    name = "MiniGrid-Empty-5x5-v0"
    with pytest.raises(ValueError, match="mission of the observation is MissionSpace, which is text: leave it out by"):
        make_vector_environment(name)
    environments = make_vector_environment(name, 2, wrappers=[WithoutText])
    observations, _ = environments.reset(seed=0)
    alone, _ = gym.make(name).reset(seed=0)
    assert list(observations) == ["direction", "image"]
    assert observations["image"].dtype == np.uint8
    np.testing.assert_array_equal(observations["image"][0], alone["image"])

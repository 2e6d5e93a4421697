"""The distribution for each action space, and refused spaces and settings."""

import gymnasium as gym
import numpy as np
import pytest

from tf_trpo.distributions import Beta, Categorical, Gaussian, MultiCategorical, make_action_distribution
from tf_trpo.models import PolicySettings
from tf_trpo.numerics import Reflection

BOX = gym.spaces.Box(-2, 2, (2,))


def make(space, mirror=None, **settings):
    return make_action_distribution(space, PolicySettings(**settings), mirror)


@pytest.mark.parametrize(
    ("space", "dimensions"),
    [
        (gym.spaces.Box(-1, 1, (2, 3)), 6),
        (gym.spaces.Discrete(4), 1),
        (gym.spaces.MultiDiscrete([3, 2]), 2),
        (gym.spaces.MultiBinary(5), 5),
        (gym.spaces.Dict(one=gym.spaces.Discrete(3), other=gym.spaces.Tuple([BOX, gym.spaces.Discrete(2)])), 4),
    ],
)
def test_each_number_and_each_choice_of_an_action_is_a_dimension(space, dimensions):
    assert make(space).dimensions == dimensions


def test_a_beta_distribution_has_as_many_dimensions_as_its_box():
    assert make(BOX, distribution="beta").dimensions == 2


@pytest.mark.parametrize(
    ("space", "kind"),
    [
        (BOX, Gaussian),
        (gym.spaces.Box(-1, 1, (), np.float16), Gaussian),
        (gym.spaces.Box(-np.inf, np.inf, (2, 2), np.float64), Gaussian),
        (gym.spaces.Discrete(3, start=5), Categorical),
        (gym.spaces.MultiDiscrete([[2, 3]], start=[[1, -1]]), MultiCategorical),
        (gym.spaces.MultiDiscrete([3, 4], dtype=np.int8), MultiCategorical),
        (gym.spaces.MultiBinary((2, 2)), MultiCategorical),
        (gym.spaces.Box(0, 255, (3,), np.uint8), MultiCategorical),
        (gym.spaces.Box(-128, 127, (1,), np.int8), MultiCategorical),
        (gym.spaces.Box(2**64 - 10, 2**64 - 1, (1,), np.uint64), MultiCategorical),
        (gym.spaces.Box(0, 1, (2,), np.bool_), MultiCategorical),
        (gym.spaces.Box(0, 5, (), np.int64), MultiCategorical),
    ],
)
def test_each_space_has_its_distribution_whose_actions_lie_in_it(space, kind):
    distribution = make(space)
    assert isinstance(distribution, kind)
    assert distribution.difference(space) is None
    parameters = distribution.parameters(np.zeros([300, distribution.num_outputs], np.float32))
    actions = distribution.sample(parameters, distribution.noise([300], np.int32([1, 2])))
    for own in (distribution.environment_actions(actions.numpy()), distribution.to_environment(actions).numpy()):
        assert own.dtype == space.dtype
        assert all(space.contains(np.asarray(action)) for action in own)


DISCRETE, MULTI = gym.spaces.Discrete, gym.spaces.MultiDiscrete
HIGH = np.float32([[5], [np.inf]])
NEST = {"jump": DISCRETE(3, start=-1), "tools": gym.spaces.Tuple((gym.spaces.MultiBinary(2), BOX))}


@pytest.mark.parametrize(
    ("space", "other", "different"),
    [
        (gym.spaces.Box(-5, HIGH), gym.spaces.Box(-5, 5, (2,)), "shape: the agent has [2, 1], the environment [2]"),
        (gym.spaces.Box(-5, HIGH), gym.spaces.Box(-5, 5, (2, 1)), "high[1]: the agent has None, the environment 5.0"),
        (BOX, gym.spaces.Box(-2, 2, (2,), np.float64), "dtype: the agent has float32, the environment float64"),
        (BOX, DISCRETE(2), "type: the agent has Box, the environment Discrete"),
        (DISCRETE(4, start=2), DISCRETE(4), "start: the agent has 2, the environment 0"),
        (DISCRETE(4), DISCRETE(3), "n: the agent has 4, the environment 3"),
        (MULTI([2, 3], start=[0, 4]), MULTI([2, 3]), "start[1]: the agent has 4, the environment 0"),
        (MULTI([2, 2]), gym.spaces.MultiBinary(2), "type: the agent has MultiDiscrete, the environment MultiBinary"),
        (NEST, NEST | {"jump": DISCRETE(3)}, "jump/start: the agent has -1, the environment 0"),
        (
            NEST,
            NEST | {"tools": gym.spaces.Tuple((NEST["tools"][0], gym.spaces.Box(-2, 3, (2,))))},
            "tools/1/high[0]: the agent has 2.0, the environment 3.0",
        ),
        (NEST, {"jump": NEST["jump"]}, "parts: the agent has jump, tools, the environment jump"),
        (NEST, gym.spaces.Tuple(()), "type: the agent has Dict, the environment Tuple"),
    ],
)
def test_the_first_thing_that_differs_from_another_space_is_named(space, other, different):
    space, other = (gym.spaces.Dict(each) if isinstance(each, dict) else each for each in (space, other))
    assert make(space).difference(space) is None
    assert make(space).difference(other) == different


def test_settings_reach_the_gaussian():
    settings = {"initial_std": 0.3, "final_std": 0.1, "clipped_likelihood": True}
    distribution = make(BOX, **settings)
    assert {name: getattr(distribution, name) for name in settings} == settings
    assert make(BOX, state_dependent_std=True).state_dependent_std
    assert isinstance(make(BOX, distribution="beta"), Beta)


@pytest.mark.parametrize(
    ("space", "std"),
    [
        (gym.spaces.Box(-2, 2), 1.0),
        (BOX, 1.0),
        (gym.spaces.Box(-2, 2, (2, 4)), 0.5),
        (gym.spaces.Box(-2, 2, (4,)), 1.0),
        (gym.spaces.Dict(one=gym.spaces.Box(-2, 2, (5,)), other=gym.spaces.Tuple([BOX, gym.spaces.Box(0, 1)])), 0.5),
        (gym.spaces.Dict(one=BOX, other=gym.spaces.MultiDiscrete([3] * 20)), 1.0),
    ],
)
def test_the_standard_deviations_of_all_continuous_dimensions_begin_with_a_sum_of_at_most_four(space, std):
    def gaussians(distribution):
        parts = getattr(distribution, "parts", None)
        return [distribution] if parts is None else [each for part in parts for each in gaussians(part)]

    for settings in {}, {"state_dependent_std": True}:
        found = [each.initial_std for each in gaussians(make(space, **settings)) if isinstance(each, Gaussian)]
        assert found == pytest.approx([std] * len(found))
        assert found


def test_actions_that_mirror_each_other_share_a_standard_deviation():
    mirror = Reflection((1, 0), (1, 1))
    assert make(BOX, mirror).std_groups == (0, 0)
    assert make(BOX, mirror, state_dependent_std=True).std_groups is None
    with pytest.raises(ValueError, match="the mirror is one of 1 actions, not of 2"):
        make(BOX, Reflection((0,), (1,)))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (gym.spaces.Text(3), r"action space Text\(.*\) is not supported: turn it into a Box, .* by a wrapper"),
        (gym.spaces.Sequence(BOX), "is not supported"),
        (gym.spaces.Dict({"say": gym.spaces.Tuple((gym.spaces.Text(3),))}), "^say/0: the action space Text"),
        (gym.spaces.Dict({}), "is not supported"),
        (gym.spaces.Tuple(()), "is not supported"),
        (
            gym.spaces.Box(0, 1000, (2,), np.int64),
            "more than 1000 choices: turn them into a Box of floats by a wrapper",
        ),
        (gym.spaces.Box(-(2**63), 2**63 - 1, (2,), np.int64), "more than 1000 choices"),
        (gym.spaces.Box(0, 1, (2,), np.longdouble), "more digits than float64: make the Box of float64"),
        (gym.spaces.Box(0, 1, (0,)), "is not supported"),
    ],
)
def test_other_spaces_are_refused_in_one_line_with_advice(space, message):
    with pytest.raises(ValueError, match=message) as error:
        make(space)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("space", "settings", "message"),
    [
        (gym.spaces.Discrete(3), {"initial_std": 0.5}, "^initial_std: the actions of .* are not continuous"),
        (gym.spaces.Tuple((gym.spaces.MultiBinary(3),)), {"final_std": 0.5}, "^final_std: .* are not continuous"),
        (gym.spaces.Box(0, 3, (2,), np.int64), {"distribution": "beta"}, "^distribution: .* are not continuous"),
        (BOX, {"distribution": "beta", "initial_std": 0.5}, "^initial_std: a Beta distribution does not use it"),
        (BOX, {"distribution": "beta", "clipped_likelihood": True}, "^clipped_likelihood: a Beta"),
        (
            gym.spaces.Box(0, np.inf, (2,)),
            {"distribution": "beta"},
            "^distribution: a Beta distribution needs two bounds",
        ),
    ],
)
def test_settings_without_effect_in_a_space_are_refused(space, settings, message):
    with pytest.raises(ValueError, match=message):
        make(space, **settings)
    assert make(gym.spaces.Tuple((gym.spaces.Discrete(3), BOX)), distribution="beta").num_outputs == 3 + 4


def test_a_distribution_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match=r"distribution must be one of .*gaussian.*beta.*, got 'q'"):
        PolicySettings(distribution="q")

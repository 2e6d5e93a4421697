"""Stacked observations: vectors, images and nests, the beginning of an episode, and refusals."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from tf_trpo.environments import EnvironmentFailedError, FrameStack, make_vector_environment
from tf_trpo.spaces import mask_of, observation_spec
from tf_trpo.spaces.specs import channels_first


class Counting(gym.Env):
    """Fills each Box with the number of the step, in arrays that are reused; episodes have 5 steps."""

    action_space = spaces.Discrete(2)

    def __init__(self, space):
        self.observation_space = space
        self._arrays = space.sample()

    def observation(self):
        def filled(space, arrays):
            if isinstance(space, spaces.Dict):
                return {name: filled(part, arrays[name]) for name, part in space.items()}
            if isinstance(space, spaces.Tuple):
                return tuple(map(filled, space, arrays))
            if isinstance(space, spaces.Discrete):
                return self.time
            np.copyto(arrays, self.time % 2 if space.dtype == np.int8 else self.time, casting="unsafe")
            return arrays

        return filled(self.observation_space, self._arrays)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 1
        return self.observation(), {"time": self.time}

    def step(self, action):
        self.time += 1
        return self.observation(), 0.5, self.time == 6, False, {"time": self.time}


def box(shape, dtype=np.float32, high=100):
    return spaces.Box(0, high, shape, dtype)


@pytest.mark.parametrize(
    ("space", "shape"),
    [
        (box((2,)), (6,)),
        (box(()), (3,)),
        (box((2, 3), np.float64), (2, 9)),
        (box((8, 8), np.uint8), (8, 24)),
        (box((8, 8), np.uint8, 255), (8, 8, 3)),
        (box((8, 8, 1), np.uint8, 255), (8, 8, 3)),
        (box((8, 9, 2), np.uint8, 255), (8, 9, 6)),
        (box((2, 8, 9), np.uint8, 255), (6, 8, 9)),
    ],
    ids=str,
)
def test_frames_are_stacked_newest_last(space, shape):
    env = FrameStack(Counting(space), 3)
    observation, info = env.reset(seed=0)
    seen = [observation]
    assert info == {"time": 1}
    for _ in range(4):
        observation, reward, terminated, truncated, info = env.step(0)
        seen.append(observation)
        assert (reward, terminated, truncated) == (0.5, len(seen) == 6, False)
    assert info == {"time": 5}
    axis = 0 if len(shape) == 3 and channels_first(shape) else -1
    for observation, times in zip(seen, [(1, 1, 1), (1, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5)], strict=True):
        assert observation.shape == shape == env.observation_space.shape
        assert observation.dtype == space.dtype
        assert env.observation_space.contains(observation)
        for part, time in zip(np.split(observation, 3, axis), times, strict=True):
            assert (part == time).all()
    # The first observation of an episode is repeated, and none of the last episode is left.
    np.testing.assert_array_equal(env.reset()[0], seen[0])


def test_bounds_are_stacked_too():
    space = spaces.Box(np.float32([-1, 0]), np.float32([1, np.inf]))
    found = FrameStack(Counting(space), 2).observation_space
    np.testing.assert_array_equal(found.low, [-1, 0, -1, 0])
    np.testing.assert_array_equal(found.high, [1, np.inf, 1, np.inf])


NEST = spaces.Dict(
    action_mask=spaces.Box(0, 1, (2,), np.int8),
    seen=spaces.Tuple([box((2,)), spaces.Discrete(9)]),
    picture=box((1, 8, 8), np.uint8, 255),
    switches=spaces.Dict(action_mask=box((1,))),
)


def test_every_box_of_a_nest_is_stacked_and_the_action_mask_is_the_newest():
    env = FrameStack(Counting(NEST), 2)
    env.reset()
    observation = env.step(0)[0]
    assert env.observation_space.contains(observation)
    np.testing.assert_array_equal(observation["action_mask"], [0, 0])
    joined, number = observation["seen"]
    np.testing.assert_array_equal(joined, [1, 1, 2, 2])
    assert number == 2
    np.testing.assert_array_equal(observation["picture"][:, 0, 0], [1, 2])
    # Only the outermost entry with this name is a mask.
    np.testing.assert_array_equal(observation["switches"]["action_mask"], [1, 2])
    spec = observation_spec(env.observation_space)
    assert mask_of(spec, spec).shape == (2,)


@pytest.mark.parametrize("backend", ["sync", "async"])
def test_a_vector_environment_accepts_the_wrapper_by_name(backend):
    environments = make_vector_environment(
        "CartPole-v1", 2, wrappers=["tf_trpo.environments:FrameStack(3)"], backend=backend
    )
    alone = make_vector_environment("CartPole-v1", 2)
    first, second = environments.reset(seed=0)[0].copy(), alone.reset(seed=0)[0].copy()
    np.testing.assert_array_equal(first, np.tile(second, 3))
    ended = np.zeros(2, bool)
    for _ in range(30):
        first, *_ = environments.step(np.ones(2, np.int64))
        third, _, terminated, *_ = alone.step(np.ones(2, np.int64))
        np.testing.assert_array_equal(first[:, 8:], third)
        # The row after the end of an episode begins the next one.
        np.testing.assert_array_equal(first[:, 4:8], np.where(ended[:, None], third, second))
        second, ended = third.copy(), terminated.copy()
    environments.close()
    alone.close()


@pytest.mark.parametrize(
    ("space", "frames", "words"),
    [
        (spaces.Discrete(3), 2, r"Discrete\(3\) has no Box"),
        (spaces.Dict(action_mask=spaces.Box(0, 1, (2,)), place=spaces.Discrete(4)), 2, "has no Box"),
        (box((2,)), 0, "frames must be at least 1, got 0"),
        (box((3, 8, 8), np.uint8, 255), 4, r"shape \(12, 8, 8\), whose channels are not the fewest"),
        (box((7, 9, 3), np.uint8, 255), 3, r"shape \(7, 9, 9\), whose channels are not the fewest"),
    ],
    ids=str,
)
def test_observations_that_cannot_be_stacked_are_refused(space, frames, words):
    with pytest.raises(ValueError, match=words):
        FrameStack(Counting(space), frames)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tf_trpo.environments:FrameStack", "missing 1 required positional argument: 'frames'"),
        ("tf_trpo.environments:FrameStack(0)", "frames must be at least 1"),
        ("tf_trpo.environments:FrameStack(-1)", "a wrapper is named by module:Class"),
        ("tf_trpo.environments:FrameStack(1.5)", "a wrapper is named by module:Class"),
        ("tf_trpo.environments:FrameStack(4", "a wrapper is named by module:Class"),
        ("tf_trpo.environments:FrameStack(__import__('os'))", "a wrapper is named by module:Class"),
        ("tf_trpo.environments:WithoutText(4)", "takes 2 positional arguments but 3 were given"),
    ],
)
def test_a_name_with_a_malformed_number_is_refused(name, words):
    with pytest.raises((ValueError, EnvironmentFailedError), match=words):
        make_vector_environment("CartPole-v1", wrappers=[name])

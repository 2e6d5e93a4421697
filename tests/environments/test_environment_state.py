"""States of environments: an environment that is set to one goes on bit for bit as the one it came from."""

import functools
import io
import json
from collections import deque

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import wrappers
from gymnasium.envs.classic_control import CartPoleEnv

from tf_trpo.environments import make_vector_environment
from tf_trpo.environments.state import EnvironmentState, can_save_state, load_state, save_state

CLASSIC = ["CartPole-v1", "Pendulum-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Acrobot-v1"]
TOY_TEXT = ["FrozenLake-v1", "FrozenLake8x8-v1", "CliffWalking-v1", "CliffWalkingSlippery-v1"]
TOY_TEXT += ["Taxi-v4", "Blackjack-v1"]
MUJOCO = ["Hopper-v5", "HalfCheetah-v5", "Ant-v5", "Walker2d-v5", "Swimmer-v5", "Reacher-v5", "Humanoid-v5"]
MUJOCO += ["Pusher-v5", "InvertedPendulum-v5", "InvertedDoublePendulum-v5", "HumanoidStandup-v5"]


def stepped(environment_id, steps, seed=0, num_envs=2):
    environments = make_vector_environment(environment_id, num_envs)
    environments.reset(seed=[seed + i for i in range(num_envs)])
    environments.action_space.seed(seed)
    for _ in range(steps):
        environments.step(environments.action_space.sample())
    return environments


def written_and_read(state):
    """Through the formats of a file, without pickle."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **state.arrays)
    buffer.seek(0)
    with np.load(buffer, allow_pickle=False) as arrays:
        return EnvironmentState(json.loads(json.dumps(state.plain)), dict(arrays))


def assert_goes_on_bit_for_bit(first, second, steps=220):
    assert can_save_state(first)
    load_state(second, written_and_read(save_state(first)))
    for _ in range(steps):
        action = first.action_space.sample()
        for ours, theirs in zip(first.step(action)[:4], second.step(action)[:4], strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("environment_id", CLASSIC + TOY_TEXT + MUJOCO)
@pytest.mark.parametrize(("steps", "steps_of_other"), [(1, 9), (137, 0)])
def test_an_environment_goes_on_bit_for_bit(environment_id, steps, steps_of_other):
    """Over ends of episodes too: their resets draw from the generators."""
    if environment_id in MUJOCO:
        pytest.importorskip("mujoco")
    assert_goes_on_bit_for_bit(stepped(environment_id, steps), stepped(environment_id, steps_of_other, seed=50))


def test_every_toy_text_environment_of_gymnasium_is_exact():
    installed = {name for name, spec in gym.registry.items() if "envs.toy_text" in str(spec.entry_point)}
    assert set(TOY_TEXT) == installed


@pytest.mark.parametrize(
    "environment_id", ["Blackjack-v1", "MountainCar-v0", "MountainCarContinuous-v0", "CartPole-v1"]
)
def test_an_environment_takes_every_state_of_another(environment_id):
    """Whatever is None, a tuple or an integer in one of them and not in the other."""
    first, second = stepped(environment_id, 0), stepped(environment_id, 0, seed=50)
    for _ in range(40):
        assert_goes_on_bit_for_bit(first, second, steps=3)
        for _ in range(3):
            first.step(first.action_space.sample())
            second.step(first.action_space.sample())


def test_a_state_is_a_copy():
    environments = stepped("CartPole-v1", 5)
    state = save_state(environments)
    before = written_and_read(state)
    environments.step(environments.action_space.sample())
    for name, array in before.arrays.items():
        np.testing.assert_array_equal(state.arrays[name], array)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (("CartPole-v1", 2), ("CartPole-v1", 3)),
        (("CartPole-v1", 2), ("Pendulum-v1", 2)),
        (("MountainCar-v0", 1), ("MountainCarContinuous-v0", 1)),
    ],
)
def test_the_state_of_other_environments_is_refused(ours, theirs):
    state = save_state(stepped(theirs[0], 3, num_envs=theirs[1]))
    with pytest.raises(ValueError, match="the state is not one of these environments"):
        load_state(stepped(ours[0], 3, num_envs=ours[1]), state)


def mutated(state, change):
    again = written_and_read(state)
    change(again.plain["environments"][0][-1]["attributes"], again.arrays)
    return again


BAD = {
    "an attribute more": lambda attributes, _: attributes.update(other=1),
    "an attribute less": lambda attributes, _: attributes.pop("state"),
    "no such array": lambda attributes, _: attributes.update(state={"array": "nowhere"}),
    "objects": lambda attributes, arrays: arrays.update({attributes["state"]["array"]: np.array([None])}),
    "another tag": lambda attributes, _: attributes.update(state={"import": "os"}),
    "nothing for a number": lambda attributes, _: attributes.update(gravity=None),
    "a number for nothing": lambda attributes, _: attributes.update(render_mode=3),
    "a truth value for nothing yet": lambda attributes, _: attributes.update(steps_beyond_terminated=True),
    "an array for a number": lambda attributes, _: attributes.update(gravity=dict(attributes["state"])),
    "a number for an array": lambda attributes, _: attributes.update(state=1.0),
    "a number for a truth value": lambda attributes, _: attributes.update(isopen=1.0),
    "a list for a number": lambda attributes, _: attributes.update(gravity={"list": [1.0]}),
    "an array of another shape": lambda attributes, arrays: arrays.update({attributes["state"]["array"]: np.zeros(5)}),
    "an array of integers": lambda attributes, arrays: arrays.update({attributes["state"]["array"]: np.zeros(4, int)}),
    "two tags": lambda attributes, _: attributes.update(state={"array": "a", "tuple": []}),
    "no generator": lambda attributes, _: attributes.update(_np_random=3),
    "another generator": lambda attributes, _: attributes["_np_random"]["generator"].update(bit_generator="MT19937"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_state_that_was_tampered_with_is_refused(name):
    environments = stepped("CartPole-v1", 3)
    state = mutated(save_state(environments), BAD[name])
    with pytest.raises(ValueError, match="the state is not one of these environments"):
        load_state(environments, state)


@pytest.mark.parametrize("steps", [None, 1.5, True, {"tuple": []}, {"list": [1]}, "2"])
def test_the_steps_of_an_episode_can_only_become_a_number_of_steps(steps):
    """With None, the environment would fail at its next step."""
    environments = stepped("CartPole-v1", 3)
    state = written_and_read(save_state(environments))
    state.plain["environments"][0][0]["attributes"]["_elapsed_steps"] = steps
    with pytest.raises(ValueError, match=r"TimeLimit\._elapsed_steps cannot become that"):
        load_state(environments, state)


@pytest.mark.parametrize("cards", [[], [1.5], [True, 2], ["2"], [None], [[1]], 3, None])
def test_a_list_of_numbers_can_only_become_one(cards):
    environments = stepped("Blackjack-v1", 3)
    cards = {"list": cards} if isinstance(cards, list) else cards
    state = mutated(save_state(environments), lambda attributes, _: attributes.update(player=cards))
    with pytest.raises(ValueError, match=r"BlackjackEnv\.player cannot become that"):
        load_state(environments, state)


def test_a_list_of_numbers_is_copied():
    environments = stepped("Blackjack-v1", 3)
    state = save_state(environments)
    load_state(environments, state)
    before = json.dumps(state.plain)
    for _ in range(10):
        environments.step(environments.action_space.sample())
    assert json.dumps(state.plain) == before


class OfSomebody(CartPoleEnv):
    """Where it keeps its state, nobody knows."""


def test_only_environments_whose_state_is_known_can_be_saved():
    assert can_save_state(make_vector_environment("CartPole-v1", 1))
    assert can_save_state(make_vector_environment("FrozenLake-v1", 1))
    assert not can_save_state(make_vector_environment(OfSomebody, 1))
    environments = make_vector_environment("CartPole-v1", 1, backend="async")
    try:
        assert not can_save_state(environments)
        with pytest.raises(ValueError, match="cannot be saved"):
            save_state(environments)
    finally:
        environments.close()


def doubled(observation):
    return 2 * observation


class Counter:
    """Remembers, so that it is no function of the observation alone."""

    def __init__(self):
        self.calls = 0

    def __call__(self, observation):
        self.calls += 1
        return observation + self.calls


class Repeating(gym.Wrapper):
    """A user's own wrapper."""


def counted(observation, counter=Counter()):  # noqa: B008 - a default that remembers is what is tested
    return counter(observation)


def transformed(env, function):
    return wrappers.TransformObservation(env, function, env.observation_space)


def counting(env):
    counter = Counter()
    return transformed(env, lambda observation: counter(observation))


STATELESS = {
    "ClipAction": wrappers.ClipAction,
    "ClipReward": lambda env: wrappers.ClipReward(env, -5, 5),
    "DiscretizeAction": lambda env: wrappers.DiscretizeAction(env, 5),
    "DtypeObservation": lambda env: wrappers.DtypeObservation(env, np.float32),
    "FlattenObservation": wrappers.FlattenObservation,
    "RescaleAction": lambda env: wrappers.RescaleAction(env, np.float32(-1), np.float32(1)),
    "RescaleObservation": lambda env: wrappers.RescaleObservation(env, np.float32(-1), np.float32(1)),
    "ReshapeObservation": lambda env: wrappers.ReshapeObservation(env, (3, 1)),
    "TransformAction": lambda env: wrappers.TransformAction(env, doubled, env.action_space),
    "TransformObservation": lambda env: transformed(env, doubled),
    "TransformReward": lambda env: wrappers.TransformReward(env, np.tanh),
}
WITH_STATE = {
    "NormalizeObservation": wrappers.NormalizeObservation,
    "NormalizeReward": wrappers.NormalizeReward,
    "FrameStackObservation": lambda env: wrappers.FrameStackObservation(env, 3),
    "DelayObservation": lambda env: wrappers.DelayObservation(env, 2),
    "MaxAndSkipObservation": wrappers.MaxAndSkipObservation,
    "StickyAction": lambda env: wrappers.StickyAction(env, 0.5),
    "RecordEpisodeStatistics": wrappers.RecordEpisodeStatistics,
    "a user's": Repeating,
    "an object as a function": lambda env: transformed(env, Counter()),
    "a method as a function": lambda env: transformed(env, Counter().__call__),
    "a function with an object": counting,
    "a function with an object as a default": lambda env: transformed(env, counted),
    "a partial function": lambda env: transformed(env, functools.partial(doubled)),
}


@pytest.mark.parametrize("name", STATELESS)
def test_wrappers_without_state_are_exact(name):
    first, second = (stepped(lambda: STATELESS[name](gym.make("Pendulum-v1")), 20, seed=seed) for seed in (0, 50))
    assert_goes_on_bit_for_bit(first, second)


@pytest.mark.parametrize("name", WITH_STATE)
@pytest.mark.parametrize("steps", [0, 3])
def test_wrappers_with_a_state_of_their_own_are_not_exact(name, steps):
    environments = stepped(lambda: WITH_STATE[name](gym.make("Pendulum-v1")), steps)
    assert not can_save_state(environments)
    with pytest.raises(ValueError, match="cannot be saved"):
        save_state(environments)


class OwnVectorWrapper(gym.vector.VectorWrapper):
    """A user's own."""


class OwnFlattening(wrappers.vector.FlattenObservation):
    """A user's own that may do more."""


VECTOR_WRAPPERS = [
    wrappers.vector.NormalizeReward,
    wrappers.vector.NormalizeObservation,
    OwnVectorWrapper,
    OwnFlattening,
]


@pytest.mark.parametrize("wrapper", VECTOR_WRAPPERS)
def test_vector_wrappers_are_not_exact(wrapper):
    inner = make_vector_environment("Pendulum-v1", 2)
    assert can_save_state(inner)
    assert not can_save_state(wrapper(inner))


class OwnVector(gym.vector.SyncVectorEnv):
    """A user's own, which may keep a state."""


def test_a_vector_environment_of_a_user_is_not_exact():
    make, mode = functools.partial(gym.make, "CartPole-v1"), gym.vector.AutoresetMode.NEXT_STEP
    assert can_save_state(gym.vector.SyncVectorEnv([make], autoreset_mode=mode))
    assert not can_save_state(OwnVector([make], autoreset_mode=mode))


@pytest.mark.parametrize("value", [[], [1, "a"], [[1]], deque([1.0]), {}, set(), Counter(), np.array([None]), (1, [])])
def test_an_environment_with_an_attribute_that_is_not_known_is_not_exact(value):
    def make():
        env = gym.make("CartPole-v1")
        env.unwrapped.memory = value
        return env

    assert not can_save_state(make_vector_environment(make, 1))

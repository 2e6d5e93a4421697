"""States of environments: an environment that is set to one goes on bit for bit as the one it came from."""

import io
import json

import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv

from tf_trpo.environments import make_vector_environment
from tf_trpo.environments.state import EnvironmentState, can_save_state, load_state, save_state

CLASSIC = ["CartPole-v1", "Pendulum-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Acrobot-v1", "FrozenLake-v1"]
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


@pytest.mark.parametrize("environment_id", CLASSIC + MUJOCO)
@pytest.mark.parametrize("steps", [1, 137])
def test_an_environment_goes_on_bit_for_bit(environment_id, steps):
    """Over ends of episodes too: their resets draw from the generators."""
    if environment_id in MUJOCO:
        pytest.importorskip("mujoco")
    first, second = stepped(environment_id, steps), stepped(environment_id, 9, seed=50)
    assert can_save_state(first)
    load_state(second, written_and_read(save_state(first)))
    for _ in range(220):
        action = first.action_space.sample()
        for ours, theirs in zip(first.step(action)[:4], second.step(action)[:4], strict=True):
            np.testing.assert_array_equal(ours, theirs)


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

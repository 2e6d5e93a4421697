"""Each known symmetry against the simulator: the mirror image of a step is a step from the mirror image."""

import gymnasium as gym
import mujoco
import numpy as np
import pytest

import tf_trpo
from tf_trpo.environments import known_mirror
from tf_trpo.models.settings import PolicySettings

SPACE = {"Ant-v5": 2, "Humanoid-v5": 2, "HumanoidStandup-v5": 2, "Walker2d-v5": 1}
"""MuJoCo bodies that move freely, and how many of their positions are not observed."""
SIGNS = {
    "InvertedDoublePendulum-v5": [-1, -1, -1],
    "InvertedPendulum-v5": [-1, -1],
    "Reacher-v5": [-1, -1, 1, -1],
    "Swimmer-v5": [1, -1, -1, -1, -1],
}
"""What becomes of the positions, and of the velocities, of the others."""
BODIES = {"Ant-v5": (27, {1, 2, 4, 5, 7, 8, 10, 11}), "Humanoid-v5": (270, {0, 1}), "HumanoidStandup-v5": (270, {0, 1})}
"""Where contact forces begin, six for each body, and the bodies that need not touch anything below."""
CLASSIC = ["Acrobot-v1", "CartPole-v1", "Pendulum-v1"]
"""Their whole state changes its sign."""


def image(permutation, vector):
    return np.asarray(vector)[list(permutation.sources)] * permutation.signs


def mirrored_state(name, mirror, positions, velocities):
    if name in SIGNS:
        return positions * SIGNS[name], velocities * SIGNS[name]
    hidden = SPACE[name]
    size = len(positions) - hidden + len(velocities)
    sources, signs = mirror.observations.sources[:size], np.array(mirror.observations.signs[:size])
    assert max(sources) < size
    state = np.concatenate([positions[hidden:], velocities])[list(sources)] * signs
    place = positions[:hidden] * [1, -1][:hidden]
    return np.concatenate([place, state[: len(positions) - hidden]]), state[len(positions) - hidden :]


def largest_of_steps(mirror, here, there, rng, count, tolerance):
    """Take random steps and mirrored steps, which must agree; return the largest size of each component."""
    largest = np.zeros(here.observation_space.shape)
    for _ in range(count):
        if isinstance(here.action_space, gym.spaces.Discrete):
            action = int(rng.integers(here.action_space.n))
            mirrored = mirror.actions.sources[action]
        else:
            action = rng.uniform(here.action_space.low, here.action_space.high)
            mirrored = image(mirror.actions, action)
        (observation, reward, terminated, *_), (other, *others) = here.step(action), there.step(mirrored)
        np.testing.assert_allclose(other, image(mirror.observations, observation), rtol=tolerance, atol=tolerance)
        assert others[:2] == [pytest.approx(reward, rel=tolerance, abs=tolerance), terminated]
        largest = np.maximum(largest, np.abs(observation))
        if terminated and isinstance(here.action_space, gym.spaces.Discrete):
            break  # MuJoCo's environments can continue.
    return largest


def simulator(name):
    environment = gym.make(name).unwrapped
    model = environment.model
    if name.startswith("Humanoid"):
        # Asymmetries of the model file: armature and stiffness of hips and knees.
        for left in (joint for joint in range(model.njnt) if model.joint(joint).name.startswith("left_")):
            right = model.joint(model.joint(left).name.replace("left_", "right_")).id
            model.jnt_stiffness[right] = model.jnt_stiffness[left]
            model.dof_armature[model.jnt_dofadr[right]] = model.dof_armature[model.jnt_dofadr[left]]
    if name == "InvertedPendulum-v5":
        model.body_ipos[model.body("pole").id, 0] = 0.0  # the model's pole leans by 0.001
        model.body_iquat[model.body("pole").id] = [1, 0, 0, 0]
        model.geom_quat[:] = np.where(np.abs(model.geom_quat) < 1e-3, 0, model.geom_quat)
    # The solver must converge: its sweeps follow the order of the contacts, which is not symmetric.
    model.opt.solver, model.opt.iterations, model.opt.tolerance = mujoco.mjtSolver.mjSOL_NEWTON, 200, 1e-14
    mujoco.mj_setConst(model, environment.data)
    return environment


def started(environment, name, seed, rng):
    """Begin at the environment's start or in a random pose, in which other parts touch the ground or a limit."""
    environment.reset(seed=seed)
    if seed % 2 and name in SPACE and name != "Walker2d-v5":
        turn = rng.normal(size=4)
        environment.data.qpos[2:7] = [0.3, *turn / np.linalg.norm(turn)]
    if seed % 2 and name == "InvertedDoublePendulum-v5":
        environment.data.qpos[0], environment.data.qvel[0] = 0.99, 3.0
    environment.set_state(environment.data.qpos.copy(), environment.data.qvel.copy())


@pytest.mark.parametrize("name", [*SPACE, *SIGNS])
def test_mujoco_is_symmetric(name):
    mirror, here, there = known_mirror(name), simulator(name), simulator(name)
    rng, largest = np.random.default_rng(0), np.zeros(here.observation_space.shape)
    for seed in range(16):
        started(here, name, seed, rng)
        there.reset(seed=seed)
        there.set_state(*mirrored_state(name, mirror, here.data.qpos.copy(), here.data.qvel.copy()))
        largest = np.maximum(largest, largest_of_steps(mirror, here, there, rng, 8, 1e-4))
    # A component that was always near 0 could have either sign.
    first, bodies = BODIES.get(name, (0, set()))
    unseen = {int(component) for component in np.flatnonzero(largest <= 3e-4)}
    assert unseen <= {first + 6 * body + part for body in bodies for part in range(6)}


@pytest.mark.parametrize("name", CLASSIC)
def test_classic_control_is_symmetric(name):
    mirror, here, there = known_mirror(name), gym.make(name).unwrapped, gym.make(name).unwrapped
    rng = np.random.default_rng(0)
    for seed in range(3):
        here.reset(seed=seed)
        there.reset(seed=seed)
        there.state = -np.asarray(here.state)
        largest_of_steps(mirror, here, there, rng, 15, 1e-5)


@pytest.mark.parametrize("name", ["Reacher-v5", "Acrobot-v1"])
def test_agents_with_a_known_mirror_can_act(name):
    agent = tf_trpo.TRPO.for_env(name, policy=PolicySettings(mirror=True), seed=0)
    mirror = known_mirror(name)
    assert agent.value_function.encoder.observations == mirror.observations
    environment = gym.make(name)
    observation, _ = environment.reset(seed=0)
    mirrored = image(mirror.observations, observation).astype(np.float32)
    observations = np.stack([observation.astype(np.float32), mirrored])
    # The output layer is initially 0, so that all discrete actions are equally likely.
    layer = agent.policy.encoder.encoder.output_layer
    layer.kernel.assign(np.random.default_rng(0).normal(size=layer.kernel.shape))
    one, other = agent.predict(observations)
    if isinstance(environment.action_space, gym.spaces.Box):
        np.testing.assert_allclose(other, image(mirror.actions, one), rtol=1e-4, atol=1e-6)
    else:
        assert other == mirror.actions.sources[one]


def test_environments_without_a_symmetry_are_refused_with_a_list_of_those_that_have_one():
    with pytest.raises(ValueError, match=r"no symmetry of Hopper-v5 is known; Acrobot-v1, .*Walker2d-v5 have one"):
        known_mirror("Hopper-v5")


def test_other_observations_than_the_default_ones_are_refused():
    with pytest.raises(ValueError, match=r"observations of shape \(8,\), not \(10,\)"):
        tf_trpo.TRPO.for_env(
            "Swimmer-v5",
            mirror=known_mirror("Swimmer-v5"),
            env_kwargs={"exclude_current_positions_from_observation": False},
        )

"""The user's vector environments, against environments stepped one by one."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space

from tf_trpo.environments import EnvironmentFailedError, can_replay, can_reset_some, make_vector_environment
from tf_trpo.rollouts import LocalSource
from tf_trpo.rollouts.actor import Actions

LENGTHS = (3, 4, 7)


class Counting(gym.Env):
    """Episodes of equal length; an observation holds the numbers of environment, episode and step."""

    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, number, as_dict=False):
        self.number, self.episode, self.as_dict = number, -1, as_dict
        if as_dict:
            self.observation_space = spaces.Dict(seen=Counting.observation_space, choice=spaces.Discrete(100))

    def seen(self):
        seen = np.array([self.number, self.episode, self.time], np.float32)
        return {"seen": seen, "choice": self.time} if self.as_dict else seen

    def reset(self, *, seed=None, options=None):
        self.episode, self.time = self.episode + 1, 0
        return self.seen(), {"figure": -1.0}

    def step(self, action):
        self.time += 1
        reward = 100.0 * self.episode + self.time + float(action[0])
        ended = self.time == LENGTHS[self.number]
        truncated = ended and self.number == 1
        return self.seen(), reward, ended and not truncated, truncated, {"figure": 10.0 * self.episode + self.number}


class Handmade(VectorEnv):
    """SAME_STEP with arrays in all infos and without partial resets, or DISABLED with or without partial resets."""

    single_observation_space = Counting.observation_space
    single_action_space = Counting.action_space
    observation_space = batch_space(Counting.observation_space, 3)
    action_space = batch_space(Counting.action_space, 3)
    num_envs = 3

    def __init__(self, mode, *, resets_some=True, has_final=True):
        self.metadata = {"autoreset_mode": mode}
        self.mode, self.resets_some, self.has_final = mode, resets_some, has_final
        self.envs = [Counting(number) for number in range(3)]
        self.seeds = []

    def reset(self, *, seed=None, options=None):
        self.seeds.append(seed)
        mask = options["reset_mask"] if options and self.resets_some else np.ones(3, bool)
        for index in np.flatnonzero(mask):
            self.envs[index].reset()
        return np.stack([env.seen() for env in self.envs]), {}

    def step(self, actions):
        steps = [env.step(action) for env, action in zip(self.envs, actions, strict=True)]
        observations, rewards, terminated, truncated = (np.array(part) for part in list(zip(*steps, strict=True))[:4])
        infos = {}
        if self.mode == AutoresetMode.SAME_STEP:
            if self.has_final:
                infos["final_obs"] = observations.copy()
            for index in np.flatnonzero(terminated | truncated):
                observations[index] = self.envs[index].reset()[0]
        return observations, rewards, terminated.astype(np.uint8), truncated.astype(float), infos


MODES = (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED)
VECTORS = {
    f"{kind.__name__} {mode.value} {'dict' if as_dict else 'box'}": (
        lambda kind=kind, mode=mode, as_dict=as_dict: kind(
            [lambda number=number: Counting(number, as_dict) for number in range(3)], autoreset_mode=mode
        )
    )
    for kind, as_dict in ((SyncVectorEnv, False), (SyncVectorEnv, True), (AsyncVectorEnv, True))
    for mode in MODES
} | {
    "own SAME_STEP": lambda: Handmade(AutoresetMode.SAME_STEP),
    "own DISABLED": lambda: Handmade("Disabled"),
}


def part(observations):
    return observations["seen"] if isinstance(observations, dict) else observations


@pytest.mark.parametrize("name", VECTORS)
def test_every_step_in_every_mode_is_a_step_of_a_single_environment(name):
    """Without pauses, the rows of each environment are those of a loop over that environment."""
    with_infos = make_vector_environment(VECTORS[name](), info_keys=["figure"])
    alone = [Counting(number) for number in range(3)]
    before = part(with_infos.reset(seed=[1, 2, 3])[0]).copy()
    for env in alone:
        env.reset()
    rng, ended, counts = np.random.default_rng(0), np.zeros(3, bool), np.zeros(3, int)
    for _ in range(60):
        actions = rng.uniform(-1, 1, (3, 1)).astype(np.float32)
        observations, rewards, terminated, truncated, infos = with_infos.step(actions)
        if isinstance(observations, dict):
            np.testing.assert_array_equal(observations["choice"], observations["seen"][:, 2])
        observations = part(observations)
        paused = infos.get("tf_trpo/paused", np.zeros(3, bool))
        for index, env in enumerate(alone):
            if ended[index]:
                expected = env.reset()[0], 0.0, False, False
                assert not paused[index]
            elif paused[index]:
                expected = before[index], 0.0, False, False
            else:
                *expected, info = env.step(actions[index])
                counts[index] += 1
                if expected[2] or expected[3]:
                    assert infos["figure"][index] == info["figure"] or "own" in name
            np.testing.assert_array_equal(observations[index], expected[0])
            assert (rewards[index], terminated[index], truncated[index]) == tuple(expected[1:])
        ended, before = terminated | truncated, observations.copy()
        assert all(np.isnan(figures[~ended]).all() for key, figures in infos.items() if key == "figure")
    assert counts.min() > 30
    with_infos.close()


class Still:
    initial_states = ()

    def set_weights(self, weights):
        pass

    def __call__(self, observations, noise, states=()):
        return Actions(noise, noise)


@pytest.mark.parametrize("mode", MODES[1:])
def test_pauses_do_not_count_as_steps_of_a_rollout(mode):
    """Rollouts of all modes hold the same steps."""
    noise = np.random.default_rng(0).uniform(-1, 1, (40, 3, 1)).astype(np.float32)
    rollouts = [
        LocalSource(make_vector_environment(vector), Still(), seed=0).collect([], 0 * noise)
        for vector in (VECTORS["SyncVectorEnv NextStep box"](), Handmade(mode))
    ]
    for index in range(3):
        rows = [rollout.valid[:, index] for rollout in rollouts]
        length = min(valid.sum() for valid in rows)
        for name, first in (
            ("observations", 0),
            ("rewards", 0),
            ("terminated", 0),
            ("truncated", 0),
            ("observations", 1),
        ):
            arrays = [getattr(rollout, name)[first : first + 40, index] for rollout in rollouts]
            steps = [array[valid][:length] for array, valid in zip(arrays, rows, strict=True)]
            np.testing.assert_array_equal(*steps)


def test_a_vector_environment_of_another_class_has_one_seed_and_no_partial_resets():
    own = Handmade(AutoresetMode.SAME_STEP)
    made = make_vector_environment(own)
    made.reset(seed=[5, 6, 7])
    made.reset(seed=8)
    assert own.seeds == [5, 8]
    assert not can_reset_some(made)
    assert not can_replay(made)
    for mode, resets_some in zip(MODES, (True, False, False), strict=True):
        assert can_reset_some(make_vector_environment(VECTORS[f"SyncVectorEnv {mode.value} box"]())) == resets_some
    assert made.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP


def stepped_to_an_end(own, steps=5):
    made = make_vector_environment(own)
    made.reset(seed=0)
    for _ in range(steps):
        made.step(np.zeros((3, 1), np.float32))


def test_a_mode_that_lacks_what_it_needs_is_a_failure_that_names_it():
    with pytest.raises(EnvironmentFailedError, match=r'SAME_STEP and gave no info\["final_obs"\] at the end'):
        stepped_to_an_end(Handmade(AutoresetMode.SAME_STEP, has_final=False))
    with pytest.raises(EnvironmentFailedError, match=r"DISABLED, and reset\(options=.* has changed environments"):
        stepped_to_an_end(Handmade(AutoresetMode.DISABLED, resets_some=False))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, np.zeros((3, 2)), r"an observation of shape \(3, 2\), its space has \(3, 3\)"),
        (0, np.zeros((2, 3)), r"an observation of shape \(2, 3\), its space has \(3, 3\)"),
        (1, None, r"rewards of shape \(\) and type object, not 3 numbers"),
        (1, np.zeros(2), r"rewards of shape \(2,\) and type float64, not 3 numbers"),
        (2, np.array(["False"] * 3), "terminations of shape"),
        (3, np.full(3, 0.5), r"truncations that are neither true nor false, but \[0\.5 0\.5 0\.5\]"),
        (4, None, r"infos that are no dict, but None: step\(actions\) must return"),
        (5, None, r"something else than a tuple of five: step\(actions\) must return"),
    ],
)
def test_wrong_values_of_a_vector_environment_are_a_failure_that_names_them(place, value, message):
    own = Handmade(AutoresetMode.SAME_STEP)

    def step(actions):
        given = Handmade.step(own, actions)
        return given[:4] if place == 5 else (*given[:place], value, *given[place + 1 :])

    own.step = step
    with pytest.raises(EnvironmentFailedError, match=f"^the environments gave {message}"):
        stepped_to_an_end(own, steps=1)


def test_gymnasiums_vector_entry_point_is_accepted():
    made = make_vector_environment(gym.make_vec("CartPole-v1", 4, vectorization_mode="vector_entry_point"))
    direct = gym.make_vec("CartPole-v1", 4, vectorization_mode="vector_entry_point")
    np.testing.assert_array_equal(made.reset(seed=[3, 4, 5, 6])[0], direct.reset(seed=3)[0])
    ends = 0
    for _ in range(60):
        actions = np.ones(4, np.int64)
        for mine, theirs in zip(made.step(actions)[:4], direct.step(actions)[:4], strict=True):
            np.testing.assert_array_equal(mine, theirs)
            ends += theirs.sum() if theirs.dtype == bool else 0
    assert ends > 4


@pytest.mark.parametrize("num_cpus", [0, 2])
def test_supersuits_vectors_of_pettingzoo_environments_are_accepted(num_cpus):
    supersuit, spread = pytest.importorskip("supersuit"), pytest.importorskip("mpe2.simple_spread_v3")
    vector = supersuit.pettingzoo_env_to_vec_env_v1(spread.parallel_env(max_cycles=6))
    made = make_vector_environment(supersuit.concat_vec_envs_v1(vector, 2, num_cpus=num_cpus, base_class="gymnasium"))
    try:
        assert (made.num_envs, made.single_observation_space.shape, made.single_action_space.n) == (6, (18,), 5)
        observations, _ = made.reset(seed=[4] * 6)
        # Velocity and position of the first agent of the first environment.
        alone = spread.parallel_env(max_cycles=6)
        expected, _ = alone.reset(seed=4)
        for row in range(6):
            np.testing.assert_array_equal(observations[:3], list(expected.values()))
            observations, rewards, terminated, truncated, _ = made.step(np.full(6, row % 5))
            expected, own, *_ = alone.step(dict.fromkeys(alone.possible_agents, row % 5))
            np.testing.assert_allclose(rewards[:3], list(own.values()), rtol=1e-6)
            assert not terminated.any()
            assert truncated.all() == (row == 5)
        # First the final observation, then the row of the reset.
        np.testing.assert_array_equal(observations[:3], list(expected.values()))
        after = made.step(np.zeros(6, np.int64))
        np.testing.assert_array_equal(after[0][:, :2], np.zeros((6, 2)))
        assert not (after[2] | after[3]).any()
    finally:
        made.close()

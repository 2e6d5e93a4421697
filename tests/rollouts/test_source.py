"""Rollouts of seeded episodes against a loop over single environments, and their continuation from a state."""

import copy

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv
from gymnasium.vector.utils import batch_space, iterate

from tf_trpo.distributions import make_action_distribution
from tf_trpo.environments import make_vector_environment
from tf_trpo.environments.episodes import episode_seed
from tf_trpo.models.settings import PolicySettings
from tf_trpo.rollouts import LocalSource, Rollout, Stream, environment_seeds, unfinished
from tf_trpo.rollouts.actor import Actions

NUM_ENVS = 3


class Walk(gym.Env):
    """A random walk that ends at random, or after 12 steps."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gym.spaces.Box(-0.5, 0.5, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.position = 0, self.np_random.normal(size=2)
        return self.position, {}

    def step(self, action):
        self.time += 1
        self.position = self.position + action + self.np_random.normal(size=2)
        return self.position, float(self.position[0]), bool(self.np_random.random() < 0.1), self.time == 12, {}


class Nest(gym.Env):
    """Observations and actions of every kind, which must be those of the spaces."""

    observation_space = gym.spaces.Dict(
        place=gym.spaces.Box(-np.inf, np.inf, (2,), np.float64),
        seen=gym.spaces.Tuple([gym.spaces.Box(0, 255, (5, 6, 3), np.uint8), gym.spaces.Discrete(4, start=2)]),
        bits=gym.spaces.MultiBinary(3),
        action_mask=gym.spaces.MultiBinary(3),
    )
    action_space = gym.spaces.Dict(
        push=gym.spaces.Box(-0.1, 0.1, (2, 1), np.float64),
        gears=gym.spaces.Tuple([gym.spaces.Discrete(3, start=-1), gym.spaces.MultiDiscrete([2, 4])]),
        flags=gym.spaces.MultiBinary(2),
    )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.place = 0, 1e9 + self.np_random.normal(size=2)
        return self.observe(), {}

    def observe(self):
        image = self.np_random.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        bits, mask = self.np_random.integers(0, 2, (2, 3), dtype=np.int8)
        kind = self.np_random.integers(2, 6)
        return {"bits": bits, "place": self.place, "action_mask": mask, "seen": (image, kind)}

    def step(self, action):
        assert self.action_space.contains(action)
        self.time += 1
        gear, levers = action["gears"]
        self.place = self.place + action["push"][:, 0] + gear + levers - action["flags"]
        return self.observe(), float(self.place[0] - 1e9), bool(self.np_random.random() < 0.1), self.time == 12, {}


MAKERS = {
    "a user's environment": Walk,
    "discrete actions": lambda: gym.make("CartPole-v1", max_episode_steps=25),
    "a time limit": lambda: gym.make("Pendulum-v1", max_episode_steps=7),
    "one-hot observations": lambda: gym.make("FrozenLake-v1"),
    "nests": Nest,
    "Box2D": lambda: gym.make("LunarLander-v3", max_episode_steps=40),
}


DISTRIBUTIONS = {}
"""By their spaces: to make one of a nest takes long."""


class Linear:
    """Acts by one matrix [D, A] and noise [B, A]."""

    initial_states = ()

    def __init__(self, observation_space, action_space):
        self.observed, self.space = observation_space, action_space
        if str(action_space) not in DISTRIBUTIONS:
            DISTRIBUTIONS[str(action_space)] = make_action_distribution(action_space, PolicySettings())
        self.distribution = DISTRIBUTIONS[str(action_space)]

    def set_weights(self, weights):
        [self.matrix] = weights

    def __call__(self, observations, noise, states=()):
        each = iterate(batch_space(self.observed, len(noise)), observations)
        inputs = np.stack([gym.spaces.flatten(self.observed, observation) for observation in each]).astype(np.float32)
        outputs = np.tanh(inputs @ self.matrix) + noise
        if isinstance(self.space, gym.spaces.Discrete):
            outputs = outputs.argmax(axis=-1)
        elif isinstance(self.space, gym.spaces.Dict):
            # flags, gears, push: whole numbers as floats, from 0.
            choices = np.abs(1e4 * outputs[:, :5]).astype(np.int64) % [2, 2, 3, 2, 4]
            outputs = np.concatenate([choices.astype(np.float32), outputs[:, 5:]], axis=1)
        return Actions(outputs, self.for_environment(outputs))

    def for_environment(self, sampled):
        return self.distribution.environment_actions(sampled)


class Run:
    """A source of rollouts by a linear policy, and the noise of its next rollouts."""

    def __init__(self, make, backend="sync", seed=5, began_at=0):
        self.environments = make if backend is None else make_vector_environment(make, NUM_ENVS, backend=backend)
        observed, space = self.environments.single_observation_space, self.environments.single_action_space
        self.actions = 7 if isinstance(space, gym.spaces.Dict) else int(getattr(space, "n", 0)) or space.shape[0]
        rng, inputs = np.random.default_rng(0), gym.spaces.flatdim(observed)
        self.weights = [rng.standard_normal((inputs, self.actions)).astype(np.float32)]
        self.source = LocalSource(self.environments, Linear(observed, space), seed=seed, began_at=began_at)

    def noise(self, num_steps, number):
        rng = np.random.default_rng([num_steps, number])
        return rng.standard_normal((num_steps, NUM_ENVS, self.actions)).astype(np.float32)

    def collect(self, num_steps, number=0):
        return self.source.collect(self.weights, self.noise(num_steps, number))


@pytest.fixture(params=MAKERS)
def make(request):
    if request.param == "Box2D":
        pytest.importorskip("Box2D")
    return MAKERS[request.param]


def naive_rows(make, actor, noise, seed):
    """The rows of a rollout by single environments that are reset, each with its own seed, when an episode ended."""
    environments = [make() for _ in range(NUM_ENVS)]
    numbers, ended = [0] * NUM_ENVS, [False] * NUM_ENVS

    def started(index):
        own_seed = environment_seeds(seed, Stream.ENVIRONMENTS, NUM_ENVS)[index]
        return environments[index].reset(seed=episode_seed(own_seed, numbers[index]))[0]

    present = [started(index) for index in range(NUM_ENVS)]
    rows, observed = [], [stacked(present)]
    for of_row in noise:
        actions, row = actor(observed[-1], of_row), []
        for index, environment in enumerate(environments):
            reward, terminated, truncated, valid = 0.0, False, False, not ended[index]
            if valid:
                present[index], reward, terminated, truncated, _ = environment.step(row_of(actions.environment, index))
            else:
                numbers[index] += 1
                present[index] = started(index)
            ended[index] = terminated or truncated
            row.append((reward, terminated, truncated, valid))
        rows.append((actions.sampled, *map(np.array, zip(*row, strict=True))))
        observed.append(stacked(present))
    return Rollout(stacked(observed), *map(np.stack, zip(*rows, strict=True)))


def each(function, *nests):
    """function(*arrays) in the places of arrays of nests."""
    if isinstance(nests[0], dict):
        return {name: each(function, *(nest[name] for nest in nests)) for name in nests[0]}
    if type(nests[0]) is tuple:
        return tuple(each(function, *parts) for parts in zip(*nests, strict=True))
    return function(*nests)


def stacked(nests):
    return each(lambda *arrays: np.stack(arrays), *nests)


def row_of(nest, index):
    return each(lambda array: array[index], nest)


def assert_same(one, other):
    """The same nests of arrays of the same types, bit for bit."""

    def check(array, expected):
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)

    for nest, expected in zip(one, other, strict=True):
        each(check, nest, expected)


def test_rollouts_are_the_rows_of_a_naive_loop(make):
    run = Run(make)
    parts = [run.collect(length, number) for number, length in enumerate((1, 40, 9))]
    noise = np.concatenate([run.noise(length, number) for number, length in enumerate((1, 40, 9))])
    expected = naive_rows(make, run.source._actor, noise, seed=5)
    together = Rollout(*(each(lambda *a: np.concatenate(a), *nests) for nests in zip(*parts, strict=True)))
    # Each rollout has the observation after its last step too.
    starts = np.delete(np.arange(53), np.cumsum([2, 41]) - 1)
    assert_same(together._replace(observations=row_of(together.observations, starts)), expected)
    assert not expected.valid.all(), "no episode ended: nothing was tested"


@pytest.mark.parametrize("name", ["a user's environment", "one-hot observations", "nests"])
def test_processes_give_the_same_rollouts(name):
    expected, run = Run(MAKERS[name]), Run(MAKERS[name], "async")
    try:
        for number in range(2):
            assert_same(run.collect(25, number), expected.collect(25, number))
    finally:
        run.source.close()


@pytest.mark.parametrize("seed", range(2))
def test_a_state_continues_bit_for_bit(make, seed):
    """Also of a source that was made for another fit."""
    rng, run = np.random.default_rng(seed), Run(make, began_at=3 * seed)
    for number in range(rng.integers(1, 9)):
        run.collect(int(rng.integers(1, 15)), number)
        if rng.random() < 0.3:
            run.source.restart_some(np.array([True, False, rng.random() < 0.5]))
        elif rng.random() < 0.2:
            run.source.restart()
    state = copy.deepcopy(run.source.state())
    if not seed:
        # Checkpoints of older versions lack it.
        del state["began_at"]
    other = Run(make, began_at=5)
    other.collect(int(rng.integers(1, 15)))
    for _ in range(2):
        assert other.source.restore(copy.deepcopy(state))
    for number in range(2):
        assert_same(run.collect(13, number), other.collect(13, number))
    assert_same(run.source.state()["actions"], other.source.state()["actions"])
    np.testing.assert_array_equal(run.source.state()["episodes"], other.source.state()["episodes"])
    for each in (run, other):
        each.source.restart()
    assert_same(run.collect(13), other.collect(13))


def test_an_episode_that_has_just_ended_is_continued_by_the_next_one():
    def pendulum():
        return gym.make("Pendulum-v1", max_episode_steps=7)

    run, other = Run(pendulum), Run(pendulum, "async")
    try:
        assert run.collect(7).truncated[-1].all()
        assert other.source.restore(run.source.state())
        rollout = other.collect(8)
        assert not rollout.valid[0].any()
        assert_same(rollout, run.collect(8))
    finally:
        other.source.close()


def test_seeds_fits_streams_and_restarts_begin_other_episodes():
    run = Run(Walk)
    starts = [run.source.episodes.observations.copy()]
    starts += [Run(Walk, **other).source.episodes.observations for other in ({"seed": 6}, {"began_at": 1})]
    starts.append(
        LocalSource(
            run.environments, run.source._actor, seed=5, stream=Stream.EVALUATION_ENVIRONMENTS
        ).episodes.observations
    )
    for _ in range(3):
        run.source.restart()
        starts.append(run.source.episodes.observations.copy())
    assert len(np.unique(np.concatenate(starts), axis=0)) == 7 * NUM_ENVS
    run.source.restart_some(np.array([False, True, False]))
    changed = (run.source.episodes.observations != starts[-1]).all(axis=1)
    np.testing.assert_array_equal(changed, [False, True, False])


def test_rollouts_share_no_memory_with_each_other_or_the_source():
    run, reference = Run(Walk), Run(Walk)
    for number in range(2):
        rollout = run.collect(9, number)
        assert_same(rollout, reference.collect(9, number))
        for array in filter(lambda part: isinstance(part, np.ndarray), rollout):
            array[...] = 1


def test_environments_of_the_users_own_begin_new_episodes():
    """They are seeded once, and never in the same way again."""
    run, other = (Run(SyncVectorEnv([Walk] * NUM_ENVS), None, began_at=began_at) for began_at in (2, 0))
    starts = [run.source.episodes.observations]
    run.collect(30)
    state = run.source.state()
    assert state["actions"] is None
    assert not other.source.restore(state)
    starts.append(other.source.episodes.observations)
    other.source.restart()
    starts.append(other.source.episodes.observations)
    # The state's fit goes on, and not the other one.
    again = Run(SyncVectorEnv([Walk] * NUM_ENVS), None, began_at=2)
    again.source.begin(state["episodes"] + 1)
    assert_same(again.source.episodes.observations, starts[1])
    assert len(np.unique(np.concatenate(starts), axis=0)) == 3 * NUM_ENVS
    assert (other.source.state()["episodes"] == state["episodes"] + 2).all()


def test_an_episode_longer_than_what_is_remembered_is_not_continued(monkeypatch):
    monkeypatch.setattr(unfinished, "_LONGEST_REPLAY", 20)
    run, other = Run("Pendulum-v1"), Run("Pendulum-v1")
    for remembered in (True, True, False):
        run.collect(10)
        state = run.source.state()
        assert (state["actions"] is not None) is remembered
        assert other.source.restore(state) is remembered
    run.source.restart()
    run.collect(10)
    assert other.source.restore(run.source.state())


class Fickle(Walk):
    """What it does depends on how many steps were taken in any environment of its kind."""

    steps = 0
    fickle = ""

    def step(self, action):
        Fickle.steps += 1
        observation, reward, terminated, truncated, info = super().step(action)
        late = Fickle.steps > 10 * NUM_ENVS
        if late and self.fickle == "raises":
            raise RuntimeError("too late")
        if self.fickle == "observation":
            observation[0] += 1e-6 * Fickle.steps
        # What is observed stays the same.
        return observation, reward, terminated or (late and self.fickle == "ends"), truncated, info


@pytest.mark.parametrize("backend", ["sync", "async"])
@pytest.mark.parametrize("fickle", ["observation", "ends", "raises"])
def test_environments_that_are_not_deterministic_begin_episodes_that_did_not_occur_before(monkeypatch, fickle, backend):
    monkeypatch.setattr(Fickle, "steps", 0)
    monkeypatch.setattr(Fickle, "fickle", "")
    run = Run(Fickle, "sync")
    if fickle != "observation":
        Fickle.steps = -1000
    Fickle.fickle = fickle
    while not run.collect(4).valid.all() or run.source.episodes.just_ended.any():
        pass
    state = run.source.state()
    Fickle.steps = 10_000
    other = Run(Fickle, backend)
    try:
        assert not other.source.restore(copy.deepcopy(state))
        assert (other.source.state()["episodes"] == state["episodes"] + 1).all()
        assert not other.source.episodes.just_ended.any()
        for index, seed in enumerate(environment_seeds(5, Stream.ENVIRONMENTS, NUM_ENVS)):
            start, _ = Walk().reset(seed=episode_seed(seed, int(state["episodes"][index]) + 1))
            np.testing.assert_array_equal(other.source.episodes.observations[index], start)
    finally:
        other.source.close()

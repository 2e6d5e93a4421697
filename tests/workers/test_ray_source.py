"""Sources with workers, compared with a source in one process; workers are lost, late, and called twice."""

import pickle
import signal

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
from ray import cloudpickle

import tf_trpo
from tf_trpo.environments import (
    EnvironmentFailedError,
    InvalidStepError,
    make_vector_environment,
    open_vector_environment,
)
from tf_trpo.models.settings import PolicySettings
from tf_trpo.rollouts import LocalSource, make_actor, unfinished
from tf_trpo.spaces import observation_spec
from tf_trpo.workers import RaySource
from tf_trpo.workers.crew import WorkerLostError
from tf_trpo.workers.worker import ShardWorker, make_setup

SHARDS, SIZE = 3, 2
B = SHARDS * SIZE


class Pupils:
    """Workers in this process. Calls end in random order; some workers are lost, and some calls are made twice.

    All arguments and results are pickled, as they would be for another process.
    """

    def __init__(self, setup, size, seed=None, losses=0.15, twice=0.15):
        self.size, self.losses, self.twice = size, losses if seed is not None else 0, twice if seed is not None else 0
        self.rng = np.random.default_rng(seed)
        self.setup = cloudpickle.dumps(setup)
        self.workers = [ShardWorker() for _ in range(size)]
        self.pending, self.lost, self.repeated = {}, 0, 0

    def share(self, weights):
        return weights

    def start(self, worker):
        self.workers[worker] = ShardWorker()
        return self._pending(lambda: self.workers[worker].start(cloudpickle.loads(self.setup)))

    def call(self, worker, *arguments, **options):
        return self._pending(lambda: self._made(worker, pickle.dumps((arguments, options))))

    def _made(self, worker, made):
        if self.workers[worker]._setup is None:
            raise WorkerLostError("it has not started again")
        arguments, options = pickle.loads(made)
        answer = self.workers[worker].play(*arguments, **options)
        if self.rng.random() < self.losses:
            self.lost += 1
            self.workers[worker] = ShardWorker()
            raise WorkerLostError("lost")
        if answer.found and self.rng.random() < self.twice:
            # As if the answer had been lost: the worker's episodes have advanced already.
            self.repeated += 1
            options["state"] = self.state_of(arguments[0].shard) if arguments[0].at else None
            answer = self.workers[worker].play(*arguments, **options)
        return pickle.loads(pickle.dumps(answer))

    def _pending(self, work):
        pending = object()
        self.pending[pending] = work
        return pending

    def wait(self, pending, timeout):
        return [pending[self.rng.integers(len(pending))]]

    def result(self, pending):
        return self.pending.pop(pending)()

    def dismiss(self, worker):
        pass

    def close(self):
        for worker in self.workers:
            for source in worker._sources.values():
                source.close()


class Pixels(gym.Env):
    """Images, and a speed that the actions change; episodes have at most 9 steps."""

    observation_space = gym.spaces.Dict(
        image=gym.spaces.Box(0, 255, (12, 12, 2), np.uint8), speed=gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    )
    action_space = gym.spaces.Box(-2, 2, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.speed = 0, self.np_random.normal(size=2)
        return self.seen(), {}

    def seen(self):
        return {"image": self.np_random.integers(0, 256, (12, 12, 2), dtype=np.uint8), "speed": self.speed}

    def step(self, action):
        self.time += 1
        self.speed = self.speed + action
        info = {"speed": float(self.speed[0])}
        return self.seen(), float(self.speed.sum()), bool(self.np_random.random() < 0.1), self.time == 9, info


class Fragile(gym.Env):
    """An environment whose steps can be made to fail."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    happens = staticmethod(lambda env: None)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.position = 0, self.np_random.normal(size=2)
        return self.position, {}

    def step(self, action):
        self.time += 1
        self.position = self.position + action
        Fragile.happens(self)
        return self.position, 1.0, self.time == 30, False, {}


CASES = {
    "discrete actions": ("CartPole-v1", {}, {}),
    "continuous actions, a memory": ("Pendulum-v1", {"memory": "gru", "memory_units": 5}, {}),
    "images and vectors": (Pixels, {"hidden_sizes": (8,)}, {"info_keys": ("speed",)}),
    "what can fail": (Fragile, {"hidden_sizes": (4,)}, {}),
}
AGENTS = {}


def agent_for(name):
    environment, settings, _ = CASES[name]
    if name not in AGENTS:
        AGENTS[name] = tf_trpo.TRPO.for_env(environment, seed=1, policy=PolicySettings(**settings))
    return AGENTS[name]


def local(name, began_at=0):
    environment, _, making = CASES[name]
    actor = make_actor(agent_for(name).policy, B, shards=SHARDS)
    return LocalSource(make_vector_environment(environment, B, **making), actor, seed=3, began_at=began_at)


def spread(name, workers, seed=None, crew=Pupils, began_at=0, **options):
    environment, _, making = CASES[name]
    policy = agent_for(name).policy
    setup = make_setup(policy, environment, dict(making), num_envs=SIZE, seed=3, began_at=began_at)
    pupils = crew(setup, workers, seed)
    with open_vector_environment(environment, 1) as one:
        spec = observation_spec(one.single_observation_space)
    source = RaySource(setup, spec, pupils, SHARDS, **options)
    pupils.state_of = lambda shard: source.episodes.state(slice(shard * SIZE, (shard + 1) * SIZE))
    return source, pupils


def collect(name, source, number, num_steps=7):
    policy = agent_for(name).policy
    rng = np.random.default_rng(number)
    # Other weights in every rollout, as in a training.
    weights = [weight.numpy() for weight in policy.weights]
    weights = [weight + rng.normal(scale=0.01, size=weight.shape).astype(weight.dtype) for weight in weights]
    weights = [np.abs(new) if (old >= 0).all() else new for new, old in zip(weights, policy.get_weights(), strict=True)]
    noise = policy.action_distribution.noise([num_steps, B], tf.constant([number, 7])).numpy()
    return source.collect(weights, noise)


def assert_same(one, other):
    flat, expected = (list(map(np.asarray, tf.nest.flatten(nest))) for nest in (one, other))
    assert [(array.dtype, array.shape) for array in flat] == [(array.dtype, array.shape) for array in expected]
    assert all(array.tobytes() == then.tobytes() for array, then in zip(flat, expected, strict=True))


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("name", CASES)
def test_rollouts_and_states_equal_those_of_one_process(name, workers):
    began_at = workers - 1
    expected, (source, pupils) = local(name, began_at), spread(name, workers, seed=workers, began_at=began_at)
    rng = np.random.default_rng(workers)
    for number in range(8):
        assert_same(collect(name, source, number), collect(name, expected, number))
        assert_same(source.state(), expected.state())
        action, chosen = rng.random(), rng.random(B) < 0.3
        for each in (source, expected) if action < 0.3 else ():
            each.restart_some(chosen)
        for each in (source, expected) if action > 0.8 else ():
            each.restart()
    assert min(pupils.lost, pupils.repeated) > 0, "nothing went wrong: nothing was tested"
    source.close()


def test_without_workers_the_episodes_can_still_be_replayed(monkeypatch):
    """The loss of a cluster is not a failure of the environments."""
    name = "continuous actions, a memory"
    expected, (source, pupils) = local(name), spread(name, 2)
    assert_same(collect(name, source, 0), collect(name, expected, 0))

    def lost():
        raise WorkerLostError("its machine is off")

    for method in "start", "call":
        monkeypatch.setattr(pupils, method, lambda *arguments, **options: pupils._pending(lost))
    with pytest.raises(EnvironmentFailedError, match="no worker is left"):
        collect(name, source, 1)
    assert_same(source.state(), expected.state())


@pytest.mark.parametrize("name", ["continuous actions, a memory", "images and vectors"])
def test_a_state_continues_with_any_number_of_workers(name):
    """Also of another fit, and if its episodes cannot be replayed."""
    sources = [local(name, 7), *(spread(name, workers, seed=5, began_at=workers)[0] for workers in (1, 3))]
    state = sources[0].state()
    for number in range(6):
        first, *others = (source.restore(state) and collect(name, source, number, 5) for source in sources)
        for other in others:
            assert_same(other, first)
        # From a source with workers to one process, and back.
        state = sources[number % 3].state()
        for source in sources:
            assert_same(source.state(), state)
    others = [local(name), spread(name, 2, seed=5)[0]]
    assert not any(source.restore({**state, "actions": None}) for source in others)
    assert_same(others[1].state(), others[0].state())
    assert others[1].state()["began_at"] == 7


FAULTS = {
    "a number that is not finite": {4: np.nan},
    "an exception": {4: None},
    "an exception before a number": {2: None, 3: np.nan},
    "a number before an exception": {2: np.nan, 3: None},
    "both at once": {3: np.nan, 4: None},
}


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
def test_the_reported_failure_is_the_one_that_one_process_meets_first(faults, monkeypatch):
    name = "what can fail"

    def happens(env):
        # One environment in each of two shards has a fault. Its seed identifies it, in every process.
        which = dict(zip(starts, faults.items(), strict=False))
        row, fault = which.get(env.start, (None, None))
        if row is not None and env.time == row + 1:
            if fault is None:
                raise ArithmeticError("broken")
            env.position = env.position * fault

    def reset(self, *, seed=None, options=None):
        gym.Env.reset(self, seed=seed)
        self.time, self.position, self.start = 0, self.np_random.normal(size=2), seed
        return self.position, {}

    monkeypatch.setattr(Fragile, "reset", reset)
    expected, (source, _) = local(name), spread(name, 2, seed=3)
    starts = [expected.environments.unwrapped.envs[index].unwrapped.start for index in (SIZE, 2 * SIZE)]
    with monkeypatch.context() as patched:
        patched.setattr(Fragile, "happens", staticmethod(happens))
        raised = []
        for each in (expected, source):
            with pytest.raises((InvalidStepError, EnvironmentFailedError)) as error:
                collect(name, each, 0)
            raised.append(error)
    assert raised[0].type is raised[1].type
    assert raised[0].value.row == raised[1].value.row
    # The message numbers environments within their shard.
    assert "(counted from environment" in str(raised[1].value)
    for each in (expected, source):
        assert each.state()["actions"] is None
        each.restart()
    assert_same(collect(name, source, 1), collect(name, expected, 1))
    assert_same(source.state(), expected.state())


class Fickle(Fragile):
    """An environment that is not deterministic."""

    count = 0

    def reset(self, *, seed=None, options=None):
        Fickle.count += 1
        super().reset(seed=seed)
        self.position = np.array([Fickle.count, 0.0])
        return self.position, {}


def test_state_that_outlives_episodes_is_noticed_and_new_environments_are_reset_once(caplog, monkeypatch):
    """The wrapper's statistics count resets, so new environments must be reset once, as in one process."""
    making = {"wrappers": [gym.wrappers.NormalizeObservation]}
    monkeypatch.setitem(CASES, "normalised", ("CartPole-v1", {"hidden_sizes": (4,)}, making))
    expected, (source, _) = local("normalised"), spread("normalised", 2)
    assert "the environment does something else when it is played again with the same seed" in caplog.text
    for number in range(2):
        assert_same(collect("normalised", source, number), collect("normalised", expected, number))


def test_a_failing_first_rollout_is_left_to_the_training(monkeypatch):
    monkeypatch.setattr(Fragile, "happens", staticmethod(lambda env: env.position.fill(np.nan)))
    source, _ = spread("what can fail", 2)
    with pytest.raises(InvalidStepError, match="not finite"):
        collect("what can fail", source, 0)


def test_episodes_that_cannot_be_replayed_are_reported_as_lost(caplog, monkeypatch):
    monkeypatch.setitem(CASES, "remembers", (Fickle, {"hidden_sizes": (4,), "memory": "gru", "memory_units": 3}, {}))
    source, pupils = spread("remembers", 2)
    assert "the environment does something else when it is played again with the same seed" in caplog.text
    rollout = collect("remembers", source, 0)
    assert not len(rollout.begun)
    [kept] = (part.copy() for part in source.episodes.states)
    numbers, starts = source.episodes.numbers.copy(), source.episodes.observations.copy()
    home = source._scheduler._homes.of(1)
    pupils.workers[home] = ShardWorker()
    lost = np.repeat([source._scheduler._homes.of(shard) == home for shard in range(SHARDS)], SIZE)
    rollout = collect("remembers", source, 1)
    np.testing.assert_array_equal(rollout.begun, lost)
    assert np.abs(kept).min() > 0
    np.testing.assert_array_equal(rollout.memory.states[0][0], np.where(lost[:, None], 0.0, kept))
    np.testing.assert_array_equal((rollout.observations[0] == starts).all(axis=1), ~lost)
    np.testing.assert_array_equal(source.episodes.numbers, numbers + lost)
    # The stored episodes are those of the environments now.
    assert not len(collect("remembers", source, 2).begun)


def test_rewards_that_are_not_repeated_are_enough_for_new_episodes(monkeypatch):
    """A replay would give equal observations, and rewards by other statistics."""
    making = {"wrappers": [gym.wrappers.NormalizeReward]}
    monkeypatch.setitem(CASES, "rewards", ("CartPole-v1", {"hidden_sizes": (4,)}, making))
    source, pupils = spread("rewards", 2)
    assert not len(collect("rewards", source, 0).begun)
    home = source._scheduler._homes.of(1)
    lost = np.repeat([source._scheduler._homes.of(shard) == home for shard in range(SHARDS)], SIZE)
    pupils.workers[home] = ShardWorker()
    np.testing.assert_array_equal(collect("rewards", source, 1).begun, lost)


def test_a_training_continues_after_lost_episodes_with_a_warning(monkeypatch, says):
    monkeypatch.setitem(CASES, "fickle", (Fickle, {"hidden_sizes": (4,)}, {}))
    source, pupils = spread("fickle", 1)
    agent = agent_for("fickle")
    agent.compile(jit_compile=False)
    lengths = []

    def lose(epoch, logs):
        lengths.append(logs.get("rollout/ep_len_mean"))
        if epoch == 1:
            pupils.workers[0] = ShardWorker()

    with says("the environments begin new episodes"):
        callback = keras.callbacks.LambdaCallback(on_epoch_end=lose)
        agent.fit(source, 6 * 20 * B, num_steps=20, callbacks=[callback], verbose=0)
    # An episode has 30 steps; episodes that were cut off are not reported.
    assert {length for length in lengths if length is not None} == {30.0}


class Abroad(Pupils):
    """Workers whose fingerprints differ."""

    def start(self, worker):
        pending = super().start(worker)
        made = self.pending[pending]
        self.pending[pending] = lambda: {**made(), "probe rollout": "f" * 64, "numpy": "1.0"}
        return pending


def test_workers_with_other_fingerprints_are_refused_or_cause_a_warning(caplog):
    message = (
        r"worker . does not compute as this process does: its numpy is 1\.0, here .*; its probe rollout is f{64}, h"
    )
    with pytest.raises(ValueError, match=message):
        spread("what can fail", 2, crew=Abroad)
    source, _ = spread("what can fail", 2, crew=Abroad, allow_different=True)
    assert caplog.text.count("it is allowed, and the results agree with those of one process in distribution only") == 2
    assert_same(collect("what can fail", source, 0), collect("what can fail", local("what can fail"), 0))


def test_a_digest_depends_on_all_actions_and_hashes_each_once(monkeypatch):
    source, read = local("continuous actions, a memory"), []

    class Counted:
        def __init__(self):
            self.made = hashlib_sha256()

        def update(self, data):
            read.append(len(data))
            self.made.update(data)

        def digest(self):
            return self.made.digest()

    hashlib_sha256 = unfinished.hashlib.sha256
    monkeypatch.setattr(unfinished.hashlib, "sha256", Counted)
    source.restart()
    sizes, digests = [], []
    for number in range(4):
        read.clear()
        collect("continuous actions, a memory", source, number, 16)
        digests.append(source.episodes.digest())
        sizes.append(sum(read))
    # Only the first rollout of an episode adds a description of the actions; later ones add equal numbers of bytes.
    assert sizes[1] == sizes[2] == sizes[3] < sizes[0]
    assert len({*digests}) == 4
    other, state = local("continuous actions, a memory"), source.state()
    assert other.restore(state)
    # The digest is the same for restored actions as for actions that were added in four rollouts.
    assert other.episodes.digest() == digests[3]
    state["actions"][4][3] += 1e-6
    other.episodes.restore(state)
    assert other.episodes.digest() != digests[3]
    assert other.episodes.digest(slice(0, 4)) == source.episodes.digest(slice(0, 4))
    assert other.episodes.digest(slice(4, 6)) != source.episodes.digest(slice(4, 6))


def test_a_worker_in_this_process_leaves_ctrl_c_alone():
    ShardWorker()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

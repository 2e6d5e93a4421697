"""Updates in parts on Ray workers have the bits of one process, even if workers are lost, stopped or different."""

import contextlib
import os
import signal
import time

import gymnasium as gym
import numpy as np
import psutil
import pytest

import tf_trpo
from tf_trpo.models.settings import PolicySettings
from tf_trpo.optimizers import EntropyBonus, TrustRegion
from tf_trpo.workers import part_workers, ray_crew

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow
ENVS, PARTS, ITERATIONS = 4, 5, 4
LARGE = {"sizes": (64, 64), "steps": 12_800, "iterations": 2}
"""Sizes with so many rows in a part that the bits of its sums depend on the number of threads."""


@pytest.fixture(scope="module", autouse=True)
def instance():
    ray_crew._connect(ray, 3, None)
    yield
    ray.shutdown()


def workers_here():
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if " ".join(child.cmdline()).startswith("ray::ShardWorker"):
                found.append(child.pid)
    return sorted(found)


class Pixels(gym.Env):
    """Images that the actions shift, in episodes of 25 steps."""

    observation_space = gym.spaces.Box(0, 255, (20, 20, 3), np.uint8)
    action_space = gym.spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.image = 0, self.np_random.integers(0, 256, (20, 20, 3), dtype=np.uint8)
        return self.image, {}

    def step(self, action):
        self.time += 1
        self.image = np.roll(self.image, tuple(np.rint(5 * action).astype(int).tolist()), (0, 1))
        return self.image, float(self.image[0, 0, 0]) / 255, False, self.time == 25, {}


def train(workers, environment="CartPole-v1", *, steps=64, sizes=(8,), iterations=ITERATIONS, **policy):
    """Train, and return the weights and the history."""
    agent = tf_trpo.TRPO.for_env(environment, seed=0, policy=PolicySettings(hidden_sizes=sizes, **policy))
    agent.compile(TrustRegion(entropy=EntropyBonus(0.01)), jit_compile=False)
    history = agent.fit(
        environment,
        iterations * ENVS * (steps - 10),
        num_envs=ENVS,
        num_steps=steps,
        shards=2,
        workers=workers,
        update_parts=PARTS,
        seed=4,
        verbose=0,
    ).history
    return agent.get_weights(), history


def assert_same(one, other):
    (weights, history), (expected, of_one) = one, other
    assert all(array.tobytes() == then.tobytes() for array, then in zip(weights, expected, strict=True))
    for name in history.keys() - {"time/fps", "time/time_elapsed"}:
        assert history[name] == of_one[name] or "update_bytes" in name, name


@pytest.fixture(scope="module")
def expected():
    return train(0)


@pytest.mark.parametrize("workers", [1, 2])
def test_weights_and_history_equal_those_of_one_process(expected, workers, monkeypatch, caplog):
    # No worker counts as slow, so that the results of each part are sent once.
    monkeypatch.setattr(part_workers, "SLOW_SECONDS", 1e9)
    found = train(workers)
    assert_same(found, expected)
    assert "not used" not in caplog.text
    # The results: the entropy, two gradients, the products, the figures of each candidate, and the checks.
    history, vectors = found[1], 2 + np.array(found[1]["train/cg_iterations"])
    theta = 4 * 8 + 8 + 8 * 2 + 2
    numbers = 1 + 4 * (1 + np.array(history["train/backtracks"]))
    checks = 4 * theta * workers * (np.arange(ITERATIONS) == 0)
    assert history["time/update_bytes_received"] == (checks + PARTS * (4 * theta * vectors + 8 * numbers)).tolist()


@pytest.mark.parametrize(
    ("environment", "policy"),
    [
        ("Pendulum-v1", {"memory": "gru", "memory_units": 5, "steps": 192}),
        (Pixels, {"steps": 40}),
        ("Pendulum-v1", LARGE),
    ],
    ids=["memory", "images", "large"],
)
def test_all_kinds_of_networks_give_the_same_bits(environment, policy, caplog):
    assert_same(train(2, environment, **policy), train(0, environment, **policy))
    assert "not used" not in caplog.text


def test_another_number_of_threads_is_noticed(monkeypatch, caplog):
    # How many threads share a large sum depends on the processor, but one thread shares none.
    monkeypatch.setattr(part_workers, "_threads", lambda: 1)
    found = train(1, "Pendulum-v1", **LARGE)
    assert "worker 0 does not compute gradients as this process does, and is not used for the update" in caplog.text
    monkeypatch.undo()
    assert_same(found, train(0, "Pendulum-v1", **LARGE))


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_or_stopped_worker_changes_nothing(expected, sent, monkeypatch, caplog):
    victims, rounds = [], []
    compute = part_workers.PartWorkers.compute

    def strike(self, requests):
        # In the middle of an update. A stopped worker is not continued before the end of the test.
        rounds.append(requests[0].name)
        if len(rounds) in ((20, 45) if sent == signal.SIGKILL else (20,)):
            victims.append(workers_here()[0])
            os.kill(victims[-1], sent)
        return compute(self, requests)

    monkeypatch.setattr(part_workers.PartWorkers, "compute", strike)
    began = time.monotonic()
    try:
        assert_same(train(2), expected)
    finally:
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    assert len(rounds) > 45
    assert victims
    assert time.monotonic() - began < 120
    assert ("was lost" in caplog.text) is (sent == signal.SIGKILL)

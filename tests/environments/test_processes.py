"""Environments that raise, hang, die or return nonsense: one line names them, and no process is left."""

import multiprocessing
import os
import signal
import time

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.environments import EnvironmentFailedError, make_vector_environment, replay_endings, replay_episodes
from tf_trpo.environments.episodes import episode_seed

SPECIAL = episode_seed(11, 0)
"""Seed of the first episode of an environment whose seed is 11."""


class Scripted(gym.Env):
    """At its third step, the environment with seed 11 fails in the given way."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, behaviour):
        self.behaviour = behaviour

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.special = seed == SPECIAL
        self.steps = 0
        if self.special and self.behaviour == "raise when reset":
            raise KeyError("no level")
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        if self.special and self.steps == 3:
            BEHAVIOURS[self.behaviour]()
        return np.full(2, 0.5, np.float32), 1.0, False, False, {}


class UnsendableError(Exception):
    def __init__(self, payload):
        super().__init__("payload")
        self.payload = payload


def raising(error):
    raise error


BEHAVIOURS = {
    "none": lambda: None,
    "raise": lambda: raising(ValueError("boom\nand more")),
    "raise what cannot be sent": lambda: raising(UnsendableError(lambda: None)),
    "hang": lambda: time.sleep(600),
    "die": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda: os._exit(7),
    "leave": lambda: raising(SystemExit(0)),
}


def stepped(backend, behaviour, *, timeout=60.0):
    environments = make_vector_environment(lambda: Scripted(behaviour), 2, backend=backend, timeout=timeout)
    environments.reset(seed=[10, 11])
    for _ in range(2):
        environments.step(np.zeros(2, np.int64))
    return environments


def close(environments):
    """Close; this must not wait for a failed environment."""
    start = time.monotonic()
    environments.close()
    assert time.monotonic() - start < 20
    assert not any(process.is_alive() for process in getattr(environments, "processes", ()))


FAILURES = {
    ("sync", "raise"): "^environment 1 raised ValueError: boom and more$",
    ("sync", "leave"): "^environment 1 raised SystemExit: 0$",
    ("async", "leave"): "^environment 1 raised SystemExit: 0$",
    ("async", "raise what cannot be sent"): "^environment 1 raised UnsendableError: payload$",
    ("async", "hang"): "^environment 1 took more than 1.5 seconds$",
    ("async", "die"): r"^environment 1 died \(exit code -9\)$",
    ("async", "exit"): r"^environment 1 died \(exit code 7\)$",
}


@pytest.mark.parametrize(("backend", "behaviour"), FAILURES)
def test_a_failure_names_the_environment(backend, behaviour):
    environments = stepped(backend, behaviour, timeout=60.0)
    if behaviour == "hang":
        # To start may take longer.
        environments._timeout = 1.5
    with pytest.raises(EnvironmentFailedError, match=FAILURES[backend, behaviour]):
        environments.step(np.zeros(2, np.int64))
    close(environments)


@pytest.mark.parametrize("backend", ["sync", "async"])
def test_a_reset_that_raises_is_a_failure(backend):
    environments = make_vector_environment(lambda: Scripted("raise when reset"), 2, backend=backend)
    with pytest.raises(EnvironmentFailedError, match=r"^environment 1 raised KeyError: 'no level'$"):
        environments.reset(seed=[10, 11])
    close(environments)


class InItsProcess(Scripted):
    """Fails when it is made or closed in a separate process."""

    def __init__(self, behaviour):
        super().__init__(behaviour)
        if multiprocessing.parent_process() is not None:
            if behaviour == "raise when made":
                raise ConnectionError("no server")
            if behaviour == "hang when made":
                time.sleep(600)

    def close(self):
        if multiprocessing.parent_process() is not None and self.behaviour == "hang when closed":
            time.sleep(600)


@pytest.mark.parametrize(
    ("behaviour", "timeout", "message"),
    [
        ("raise when made", 60.0, "^environment [01] cannot be made: ConnectionError: no server$"),
        ("hang when made", 1.0, "^environments 0, 1 took more than 1 seconds$"),
    ],
)
def test_an_environment_that_cannot_be_made_in_its_process_is_a_failure(behaviour, timeout, message):
    with pytest.raises(EnvironmentFailedError, match=message):
        make_vector_environment(lambda: InItsProcess(behaviour), 2, backend="async", timeout=timeout)
    assert not multiprocessing.active_children()


def test_an_environment_that_does_not_close_is_killed():
    environments = make_vector_environment(lambda: InItsProcess("hang when closed"), 2, backend="async", timeout=60.0)
    environments.reset(seed=0)
    environments._timeout = 1.0
    close(environments)


def test_an_environment_that_cannot_be_made_is_a_failure():
    for backend in ("sync", "async"):
        with pytest.raises(EnvironmentFailedError, match=r"^the environment cannot be made: ZeroDivisionError: half$"):
            make_vector_environment(lambda: raising(ZeroDivisionError("half")), 2, backend=backend)


class Learned(Scripted):
    """Computes its observation by TensorFlow."""

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return tf.linalg.matvec(tf.eye(2), tf.zeros(2)).numpy(), {}


def test_an_environment_that_uses_tensorflow_works_in_this_process_and_raises_in_a_forked_one():
    tf.linalg.matvec(tf.eye(2), tf.zeros(2))
    environments = make_vector_environment(lambda: Learned("none"), 2)
    np.testing.assert_array_equal(environments.reset(seed=0)[0], np.zeros([2, 2]))
    environments = make_vector_environment(lambda: Learned("none"), 2, backend="async", timeout=60.0)
    start = time.monotonic()
    with pytest.raises(EnvironmentFailedError, match=r"^environment [01] raised .*uses TensorFlow.*backend sync"):
        environments.reset(seed=0)
    assert time.monotonic() - start < 10
    close(environments)


def test_the_time_limit_of_a_replay_grows_with_its_steps():
    class Slow(Scripted):
        def step(self, action):
            time.sleep(0.3)
            return super().step(action)

    environments = make_vector_environment(lambda: Slow("none"), 2, backend="async", timeout=60.0)
    environments._timeout = 1.0
    actions = np.zeros(4, np.int64)
    np.testing.assert_array_equal(
        replay_episodes(environments, [1, 2], [(0, actions), (0, actions[:1])]), np.full([2, 2], 0.5)
    )
    assert replay_endings(environments) == (False, False)
    close(environments)


def test_a_signal_to_all_processes_ends_no_environment():
    environments = stepped("async", "none")
    for process in environments.processes:
        os.kill(process.pid, signal.SIGINT)
        os.kill(process.pid, signal.SIGTERM)
    time.sleep(0.2)
    observations = environments.step(np.zeros(2, np.int64))[0]
    np.testing.assert_array_equal(observations, np.full([2, 2], 0.5))
    close(environments)


@pytest.mark.parametrize("timeout", [0.0, float("nan")])
def test_a_timeout_that_is_not_positive_is_refused(timeout):
    with pytest.raises(ValueError, match="the environments' timeout must be positive"):
        make_vector_environment("CartPole-v1", 2, backend="async", timeout=timeout)

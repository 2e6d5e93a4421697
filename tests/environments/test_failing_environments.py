"""Environments that raise, hang, die or give nonsense: who, and how, in one line, and no process stays."""

import os
import signal
import time

import gymnasium as gym
import numpy as np
import pytest

from tf_trpo.environments import EnvironmentFailedError, InvalidStepError, make_vector_environment


class Scripted(gym.Env):
    """At its third step, the environment whose seed is 11 does what it is told."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, behaviour):
        self.behaviour = behaviour

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.special = seed == 11
        self.steps = 0
        if self.special and self.behaviour == "raise when reset":
            raise KeyError("no level")
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        observation, reward = np.full(2, 0.5, np.float32), 1.0
        if self.special and self.steps == 3:
            if self.behaviour == "raise":
                raise ValueError("boom\nand more")
            if self.behaviour == "raise what cannot be sent":
                raise UnsendableError(lambda: None)
            if self.behaviour == "hang":
                time.sleep(600)
            if self.behaviour == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.behaviour == "exit":
                os._exit(7)
            observation = np.zeros(3, np.float32) if self.behaviour == "misshapen" else observation
            reward = "much" if self.behaviour == "no reward" else reward
        return observation, reward, False, False, {}


class UnsendableError(Exception):
    def __init__(self, payload):
        super().__init__("payload")
        self.payload = payload


def stepped(backend, behaviour, *, timeout=60.0):
    environments = make_vector_environment(lambda: Scripted(behaviour), 3, backend=backend, timeout=timeout)
    environments.reset(seed=[10, 11, 12])
    for _ in range(2):
        environments.step(np.zeros(3, np.int64))
    return environments


def close(environments):
    """Closing must not wait for what has failed."""
    start = time.monotonic()
    environments.close()
    assert time.monotonic() - start < 20
    assert not any(process.is_alive() for process in getattr(environments, "processes", ()))


FAILURES = {
    ("sync", "raise"): "^environment 1 raised ValueError: boom and more$",
    ("async", "raise"): "^environment 1 raised ValueError: boom and more$",
    ("async", "raise what cannot be sent"): "^environment 1 raised UnsendableError: payload$",
    ("async", "hang"): "^environment 1 took more than 1.5 seconds$",
    ("async", "die"): r"^environment 1 died \(exit code -9\)$",
    ("async", "exit"): r"^environment 1 died \(exit code 7\)$",
}


@pytest.mark.parametrize(("backend", "behaviour"), FAILURES)
def test_a_failure_names_the_environment(backend, behaviour):
    environments = stepped(backend, behaviour, timeout=1.5 if behaviour == "hang" else 60.0)
    with pytest.raises(EnvironmentFailedError, match=FAILURES[backend, behaviour]):
        environments.step(np.zeros(3, np.int64))
    close(environments)


def test_a_reset_that_raises_is_a_failure():
    environments = make_vector_environment(lambda: Scripted("raise when reset"), 3, backend="async")
    with pytest.raises(EnvironmentFailedError, match=r"^environment 1 raised KeyError: 'no level'$"):
        environments.reset(seed=[10, 11, 12])
    close(environments)


@pytest.mark.parametrize("backend", ["sync", "async"])
@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("misshapen", r"^environment 1 gave an observation of shape \(3,\), its space has \(2,\)$"),
        ("no reward", "^environment 1 gave a reward that is no number, but a str$"),
    ],
)
def test_after_an_invalid_step_the_environments_can_be_reset(backend, behaviour, message):
    environments = stepped(backend, behaviour)
    with pytest.raises(InvalidStepError, match=message):
        environments.step(np.zeros(3, np.int64))
    observations, _ = environments.reset(seed=[20, 21, 22])
    np.testing.assert_array_equal(observations, np.zeros([3, 2]))
    for _ in range(5):
        observations, rewards, *_ = environments.step(np.zeros(3, np.int64))
    np.testing.assert_array_equal(observations, np.full([3, 2], 0.5))
    np.testing.assert_array_equal(rewards, np.ones(3))
    close(environments)


def test_ctrl_c_reaches_the_training_and_not_its_environments():
    environments = stepped("async", "none")
    for process in environments.processes:
        os.kill(process.pid, signal.SIGINT)
    time.sleep(0.2)
    observations = environments.step(np.zeros(3, np.int64))[0]
    np.testing.assert_array_equal(observations, np.full([3, 2], 0.5))
    close(environments)


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("nan")])
def test_a_timeout_that_is_not_positive_is_refused(timeout):
    with pytest.raises(ValueError, match="the environments' timeout must be positive"):
        make_vector_environment("CartPole-v1", 2, backend="async", timeout=timeout)

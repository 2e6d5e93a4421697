"""Environments that are stepped and rendered in a separate process: the same episodes, and failures."""

import os
import sys
import threading
import time

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest

from tf_trpo.environments import EnvironmentFailedError, open_rendered_environment, open_vector_environment

# Pickled by value, so that the process that renders does not import this file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Frames(gym.Env):
    """A frame shows the process id and whether TensorFlow is loaded; the observation is a dict."""

    observation_space = gym.spaces.Dict(count=gym.spaces.Discrete(9), place=gym.spaces.Box(0, 1, (2,)))
    action_space = gym.spaces.Dict(a=gym.spaces.Discrete(2), b=gym.spaces.Box(-1, 1, (1,)))
    render_mode = "rgb_array"

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return {"count": 0, "place": self.np_random.random(2, np.float32)}, {}

    def step(self, action):
        if action["a"] == 1:
            raise RuntimeError("no such lever")
        return {"count": 1, "place": self.np_random.random(2, np.float32)}, float(action["b"][0]), False, False, {}

    def render(self):
        loaded = any(name in sys.modules for name in ("tensorflow", "keras"))
        return np.full((2, 2, 3), 255 * loaded, np.uint8)


def actions(lever, force=0.5):
    return {"a": np.array([lever]), "b": np.float32([[force]])}


def test_the_episode_is_the_same_as_here_and_the_process_has_no_tensorflow():
    with open_rendered_environment(Frames) as there, open_vector_environment(Frames, 1) as here:
        for name in ("single_observation_space", "single_action_space", "metadata"):
            assert getattr(there, name) == getattr(here, name)
        for call in (lambda env: env.reset(seed=3), lambda env: env.step(actions(0))):
            found, wanted = call(there), call(here)
            assert found[0]["count"] == wanted[0]["count"]
            np.testing.assert_array_equal(found[0]["place"], wanted[0]["place"], strict=True)
            assert found[1:-1] == wanted[1:-1]
        np.testing.assert_array_equal(there.render(), np.zeros((2, 2, 3), np.uint8), strict=True)
        # The environment's exception is raised here, and the next call works.
        with pytest.raises(EnvironmentFailedError, match="environment 0 raised RuntimeError: no such lever"):
            there.step(actions(1))
        assert there.reset(seed=3)[0]["count"] == [0]
        process = there._process
        assert process.poll() is None
    assert process.returncode == 0


def test_an_id_that_is_registered_in_this_process_only_can_be_made():
    gym.register("OnlyHere-v0", lambda render_mode: Frames(), max_episode_steps=1)
    try:
        with open_rendered_environment("OnlyHere-v0") as there:
            there.reset(seed=0)
            assert there.step(actions(0))[3] == [True]
    finally:
        del gym.registry["OnlyHere-v0"]


UNMADE = {
    "unknown": ("Nowhere-v0", gym.error.NameNotFound, "doesn't exist"),
    "exits": (lambda: sys.exit(4), EnvironmentFailedError, "cannot be made: SystemExit: 4"),
    "dies": (lambda: os._exit(5), EnvironmentFailedError, r"its process died \(exit code 5\)"),
    "cannot be sent": (threading.Lock().acquire, ValueError, "cannot be sent .*: give an environment id"),
}


def test_an_environment_without_the_argument_render_mode_is_told_that_a_film_gives_it():
    gym.register("Unfilmed-v0", lambda: Frames())
    words = (
        r"^a film gives the environment's constructor the argument render_mode='rgb_array', and Unfilmed-v0 cannot be"
    )
    try:
        with pytest.raises(ValueError, match=words), open_rendered_environment("Unfilmed-v0"):
            pass
    finally:
        del gym.registry["Unfilmed-v0"]


@pytest.mark.parametrize(("environment", "kind", "words"), UNMADE.values(), ids=UNMADE)
def test_an_environment_that_cannot_be_made_says_why(environment, kind, words):
    with pytest.raises(kind, match=words), open_rendered_environment(environment):
        pass


def test_a_process_that_hangs_is_a_failure(monkeypatch):
    class Hanging(Frames):
        def render(self):
            time.sleep(60)

    monkeypatch.setattr("tf_trpo.environments.rendering._PATIENCE", 60.0)
    monkeypatch.setattr("tf_trpo.environments.rendering._CLOSING", 0.1)
    with open_rendered_environment(Hanging) as there:
        there.reset(seed=0)
        monkeypatch.setattr("tf_trpo.environments.rendering._PATIENCE", 0.1)
        with pytest.raises(ValueError, match=r"Hanging cannot be filmed: its process did not answer within 0\.1 s"):
            there.render()

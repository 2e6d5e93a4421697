"""Films of an episode: real environments are rendered, and Pillow reads the GIF."""

import io
import os
import signal
import sys

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
from PIL import Image

import tf_trpo
from tf_trpo.callbacks import TensorBoard
from tf_trpo.callbacks.episode_video import EpisodeVideo, encode_gif
from tf_trpo.models.settings import PolicySettings

LENGTH = 9
TIMES = np.repeat(np.arange(LENGTH, dtype=np.float32) / LENGTH, 2).reshape(LENGTH, 1, 2)
"""The observations of one environment, step by step."""
# Pickled by value, so that the process that renders does not import this file, and TensorFlow with it.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Counter(gym.Env):
    """Nine steps; an observation and a frame, as a grey level, show the number of steps."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 45}  # noqa: RUF012
    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.seen(), {}

    def step(self, action):
        self.time += 1
        return self.seen(), 1.0, self.time == LENGTH, False, {}

    def seen(self):
        return np.full(2, self.time / LENGTH, np.float32)

    def render(self):
        return np.full((6, 8, 3), 25 * self.time, np.uint8) if self.render_mode else None


class Crashing(Counter):
    """An environment whose renderer crashes at the third frame."""

    def render(self):
        if self.time == 6:
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().render()


@pytest.fixture(scope="module")
def agent():
    gym.register("Counter-v0", Counter, disable_env_checker=True)
    yield tf_trpo.TRPO.for_env("Counter-v0", policy=PolicySettings(hidden_sizes=(2,)), seed=0)
    del gym.registry["Counter-v0"]


@pytest.fixture(scope="module")
def film(agent):
    return EpisodeVideo("Counter-v0", 1).record(agent)


def frames(gif):
    with Image.open(io.BytesIO(gif)) as image:
        for number in range(image.n_frames):
            image.seek(number)
            yield np.asarray(image.convert("RGB")), image.info["duration"]


def test_a_film_is_of_the_actions_that_the_agent_predicts(agent, film):
    class Recorder:
        seen = ()
        policy = agent.policy

        def predict(self, observations, state=None):
            self.seen = (*self.seen, observations.copy())
            return agent.predict(observations, state)

    recorder = Recorder()
    assert EpisodeVideo("Counter-v0", 1).record(recorder) == film
    np.testing.assert_array_equal(recorder.seen, TIMES)


def test_a_film_goes_on_with_the_state_of_the_memory():
    remembering, given = tf_trpo.TRPO.for_env(Counter, memory="lstm", memory_units=3, seed=0), []

    class Recorder:
        policy = remembering.policy

        def predict(self, observations, state=None):
            given.append(state)
            return remembering.predict(observations, state)

    EpisodeVideo(lambda: Counter(render_mode="rgb_array"), 1).record(Recorder())
    assert len(given) == LENGTH
    state = None
    for observations, found in zip(TIMES, given, strict=True):
        assert (found is None) == (state is None)
        for part, expected in zip(found or (), state or (), strict=True):
            np.testing.assert_array_equal(part, expected)
        _, state = remembering.predict(observations, state)
    assert np.abs(given[-1][0] - given[-2][0]).max() > 1e-4


def test_a_function_that_makes_the_environment_is_filmed_too(agent, film):
    assert EpisodeVideo(lambda: Counter(render_mode="rgb_array"), 1).record(agent) == film
    with pytest.raises(ValueError, match="Counter cannot be filmed: it has no render mode rgb_array"):
        EpisodeVideo(Counter, 1).check()


def test_a_film_shows_the_wrapped_environment(agent):
    short = EpisodeVideo("Counter-v0", 1, env_kwargs={"max_episode_steps": 4})
    assert len(list(frames(short.record(agent)))) == 2


def test_a_film_is_one_episode_with_about_15_frames_per_second(film):
    # 45 steps per second: every third one is shown, for 67 ms; a GIF counts in hundredths of a second.
    shown = list(frames(film))
    assert [int(frame[0, 0, 0]) for frame, _ in shown] == [0, 75, 150]
    assert {duration for _, duration in shown} == {60}
    assert shown[0][0].shape == (6, 8, 3)


def test_a_film_loops_and_large_frames_are_shrunk():
    gif = encode_gif([np.full((600, 400, 3), level, np.uint8) for level in (0, 99, 200)], milliseconds=50)
    with Image.open(io.BytesIO(gif)) as image:
        assert (image.format, image.size, image.n_frames, image.info["loop"]) == ("GIF", (200, 300), 3, 0)


def test_cartpole_can_be_filmed():
    pytest.importorskip("pygame")
    agent = tf_trpo.TRPO.for_env("CartPole-v1", policy=PolicySettings(hidden_sizes=(2,)), seed=0)
    shown = list(frames(EpisodeVideo("CartPole-v1", 1).record(agent)))
    assert shown[0][0].shape == (200, 300, 3)
    assert len(shown) >= 2
    # A white background with a cart and a pole.
    assert all(0.5 < (frame.min(axis=-1) > 250).mean() < 0.999 for frame, _ in shown)


def test_without_pygame_the_message_says_what_to_install(monkeypatch, tmp_path):
    (tmp_path / "pygame.py").write_text("raise ModuleNotFoundError('No module named pygame', name='pygame')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r'CartPole-v1 cannot be filmed: .*pip install -e "\.\[play\]"'):
        EpisodeVideo("CartPole-v1", 1).check()


def test_a_crashing_renderer_costs_a_film_but_not_the_run(agent, tmp_path, caplog):
    video = EpisodeVideo(lambda: Crashing(render_mode="rgb_array"), 1)
    board = TensorBoard(tmp_path, histogram_every=0, video=video)
    board.set_model(agent)
    board.on_train_begin()
    board.on_train_end()
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "there is no film at step 0: " in record.getMessage()
    assert "cannot be filmed: its process died (SIGSEGV)" in record.getMessage()


def test_an_environment_whose_first_frame_crashes_is_refused():
    class Never(Counter):
        def render(self):
            os.abort()

    with pytest.raises(ValueError, match=r"Never cannot be filmed: its process died \(SIGABRT\)"):
        EpisodeVideo(Never, 1).check()

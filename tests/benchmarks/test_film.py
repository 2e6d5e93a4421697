"""`film`: robots are drawn at their positions, and the GIF has the requested length and speed."""

from pathlib import Path

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from PIL import Image

from benchmarks.film import NEAR, VIEWS, Film, picture
from tf_trpo.environments.episodes import episode_seed
from tf_trpo.serving.local_policy import LocalPolicy


def test_a_body_is_drawn_at_its_position():
    robot = gym.make("Hopper-v5").unwrapped
    robot.reset(seed=0)
    robot.data.qpos[:] = [7.0, 1.25, 0, 0, 0, 0]
    mujoco.mj_forward(robot.model, robot.data)
    view = VIEWS["Hopper-v5"]
    pixels = np.asarray(picture("Hopper-v5", robot.data, robot.model, (340, 255)), int)
    is_body = np.abs(pixels - NEAR).sum(axis=-1) < 20
    rows, columns = np.nonzero(is_body)
    # 100 pixels are a metre; the camera follows the trunk, whose upper end is at 1.45 m with a radius of 5 cm.
    highest = (255 / 2 - rows.min()) / 100 + view.middle
    assert highest == pytest.approx(1.5 * np.cos(np.radians(view.elevation)), abs=0.04)
    assert np.median(columns) == pytest.approx(170, abs=2)
    # The trunk is 10 cm wide.
    assert is_body[rows.min() + 20].sum() == pytest.approx(10, abs=2)


def test_the_film_is_a_gif_of_the_requested_length(tmp_path):
    path = tmp_path / "film.gif"
    Film(path, environments=("Hopper-v5", "Swimmer-v5"), seconds=0.5, frames_per_second=10, size=80).run()
    with Image.open(path) as film:
        assert film.n_frames == 5
        assert film.size == (160, 60)
        assert film.info["duration"] == 100
        assert film.info["loop"] == 0


def test_an_environment_with_its_own_renderer_is_filmed_at_its_own_speed_and_in_its_colours(tmp_path):
    path = tmp_path / "film.gif"
    Film(path, environments=("Pendulum-v1",), seconds=0.4, frames_per_second=10, size=120).run()
    environment = gym.make("Pendulum-v1", render_mode="rgb_array")
    policy = LocalPolicy(Path("saved_models/Pendulum-v1"))
    observation, _ = environment.reset(seed=episode_seed(0, 0))
    frames = []
    for _ in range(20):
        frames.append(Image.fromarray(environment.render()).resize((90, 90), Image.Resampling.LANCZOS))
        observation = environment.step(policy.act(observation[None])[0])[0]
    with Image.open(path) as film:
        assert film.n_frames == 4
        film.seek(3)
        shown = np.asarray(film.convert("RGB"), int)
    # The frame is a square, and the panel has 120 times 90 pixels: 15 columns are free on each side.
    differences = [np.abs(shown[:, 15:105] - np.asarray(frame, int)) for frame in frames]
    # 0.3 seconds at 30 steps a second.
    assert np.argmin([difference.mean() for difference in differences]) == 9
    assert differences[9].max() < 60
    assert np.ptp(shown[:, :15]) < 8


def test_an_environment_that_cannot_be_filmed_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "none")
    with pytest.raises(ValueError, match="CartPole-v1 cannot be filmed"):
        Film(tmp_path / "film.gif", environments=("CartPole-v1",)).run()
    assert not list(tmp_path.iterdir())

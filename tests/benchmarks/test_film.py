"""`film`: the robots are drawn where they are, and the GIF has the length and the speed that were asked for."""

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from PIL import Image

from benchmarks.film import NEAR, VIEWS, Film, picture


def test_a_body_is_drawn_at_its_place():
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


def test_the_film_is_a_gif_of_its_length(tmp_path):
    path = tmp_path / "film.gif"
    Film(path, environments=("Hopper-v5", "Swimmer-v5"), seconds=0.5, frames_per_second=10, size=80).run()
    with Image.open(path) as film:
        assert film.n_frames == 5
        assert film.size == (160, 60)
        assert film.info["duration"] == 100
        assert film.info["loop"] == 0


def test_an_environment_without_a_view_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no view of CartPole-v1"):
        Film(tmp_path / "film.gif", environments=("CartPole-v1",)).run()
    assert not list(tmp_path.iterdir())

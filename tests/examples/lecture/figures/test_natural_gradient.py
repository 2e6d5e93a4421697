"""The fields are directions of ascent, and their paths lead where the figure says."""

import numpy as np
import pytest

from examples.lecture.figures.natural_gradient import END_SIGMA, STARTS


@pytest.fixture(scope="module")
def data(figure_of):
    return figure_of(1)[1]


def test_arrows_are_unit_directions_of_ascent(data):
    gradients = data.problem.gradient(data.points)
    for arrows in (data.vanilla_arrows, data.natural_arrows):
        np.testing.assert_allclose(np.linalg.norm(arrows, axis=1), 1)
        assert (np.sum(arrows * gradients, axis=1) > 0).all()
    np.testing.assert_allclose(np.sum(data.vanilla_arrows * gradients, axis=1), np.linalg.norm(gradients, axis=1))
    differently = np.sum(data.vanilla_arrows * data.natural_arrows, axis=1)
    assert differently.min() < 0.2


def test_objective_rises_along_every_path_down_to_the_end(data):
    for paths in (data.vanilla_paths, data.natural_paths):
        assert len(paths) == len(STARTS)
        for path, start in zip(paths, STARTS, strict=True):
            np.testing.assert_array_equal(path[0], start)
            assert path[-1, 1] == pytest.approx(END_SIGMA)
            assert (np.diff(data.problem.objective(path)) > 0).all()


def test_natural_paths_reach_the_best_gain_and_vanilla_paths_do_not(data):
    for natural, vanilla in zip(data.natural_paths, data.vanilla_paths, strict=True):
        assert abs(natural[-1, 0] - data.optimal_gain) < 0.005
        assert abs(vanilla[-1, 0] - data.optimal_gain) > 0.1

"""Figures of a search: the drawn data are the given data."""

import numpy as np

from tf_trpo.figures.style import BLUE, VERMILION, styled
from tf_trpo.figures.trials import draw_importances, draw_trials


def test_every_trial_is_a_point_and_the_best_so_far_is_a_line_over_complete_ones():
    numbers, values = np.array([0, 1, 3, 4]), np.array([1.0, 9.0, 3.0, 2.0])
    with styled():
        [axes] = draw_trials(numbers, values, np.array([True, False, True, True])).axes
    complete, cut_short, best = axes.get_lines()
    np.testing.assert_array_equal(complete.get_xydata(), [[0, 1], [3, 3], [4, 2]])
    np.testing.assert_array_equal(cut_short.get_xydata(), [[1, 9]])
    np.testing.assert_array_equal(best.get_xydata(), [[0, 1], [3, 3], [4, 3]])
    assert (complete.get_color(), best.get_color()) == (BLUE, VERMILION)
    assert len(axes.get_legend().get_texts()) == 3


def test_without_pruned_trials_the_legend_does_not_name_them():
    with styled():
        [axes] = draw_trials(np.arange(2), np.zeros(2), np.ones(2, bool)).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["trained to the end", "best so far"]


def test_importances_are_bars_with_the_largest_on_top():
    with styled():
        [axes] = draw_importances({"max_kl": 0.7, "gamma": 0.1, "num_steps": 0.2}).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["gamma", "num_steps", "max_kl"]
    np.testing.assert_allclose([bar.get_width() for bar in axes.patches], [0.1, 0.2, 0.7])

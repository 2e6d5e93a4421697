"""Figures of runs: their lines are the data."""

import io
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from tf_trpo.figures.charts import CHARTS, STEPS
from tf_trpo.figures.run_curves import GroupCurve, draw, draw_panel, draw_panels
from tf_trpo.figures.statistics import Interval
from tf_trpo.figures.style import CYCLE, styled, write


def group(label, runs=2, offset=0.0):
    x = np.linspace(0, 10, 5)
    return GroupCurve(label, runs, x, Interval(x + offset, x + offset - 1, x + offset + 1))


def test_each_group_is_a_line_and_a_band_of_its_own_colour():
    groups = [group("a", offset=1.0), group("b", offset=5.0, runs=1)]
    [axes] = draw(groups, "steps", "return").axes
    assert len({line.get_color() for line in axes.lines}) == 2
    for line, band, of_group in zip(axes.lines, axes.collections, groups, strict=True):
        np.testing.assert_array_equal(line.get_xydata(), np.transpose([of_group.x, of_group.y.estimate]))
        edges = {tuple(point) for point in band.get_paths()[0].vertices}
        assert {*zip(of_group.x, of_group.y.low), *zip(of_group.x, of_group.y.high)} <= edges  # noqa: B905
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a (2 runs)", "b (1 run)"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("steps", "return")


def test_lines_have_different_styles_as_far_as_there_are_any_and_more_groups_are_drawn_too():
    looks = [
        (line.get_color(), line.get_linestyle())
        for line in draw([group(str(number)) for number in range(len(CYCLE) + 2)], "x", "y").axes[0].lines
    ]
    assert len(looks) == len(CYCLE) + 2
    assert len(set(looks)) == len(CYCLE)


def test_labels_are_shown_as_they_are_even_if_they_look_like_mathematics():
    file = io.BytesIO()
    with styled():
        write(draw([group("a $broken \\frac{ formula$ <tag> & more")], "x", "cost in $"), file, "svg")
    ElementTree.fromstring(file.getvalue())


TITLES = {title: columns for charts in CHARTS.values() for title, columns in charts.items()}


@pytest.fixture
def history():
    rng = np.random.default_rng(0)
    history = {column: rng.normal(size=6) for columns in TITLES.values() for column in columns}
    history["eval/mean_reward"][[0, 1, 3]] = np.nan
    return {STEPS: np.arange(6.0) * 100, **history}


def test_lines_of_a_chart_are_the_known_values_over_steps(history):
    [axes] = draw_panel("Return", TITLES["Return"], history).axes
    for column, line in zip(TITLES["Return"], axes.lines, strict=True):
        there = ~np.isnan(history[column])
        np.testing.assert_array_equal(line.get_xydata(), np.transpose([history[STEPS][there], history[column][there]]))
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(TITLES["Return"])


def test_a_report_has_the_charts_with_a_column_and_is_reproducible_to_the_byte(history):
    few = {name: history[name] for name in (STEPS, "eval/mean_reward", "train/std")}
    drawn = draw_panels(few)
    assert list(drawn) == ["Return", "Standard deviation of the actions, in half-ranges"]
    for svg in drawn.values():
        assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert drawn == draw_panels(few)
    assert draw_panels({STEPS: history[STEPS]}) == {}

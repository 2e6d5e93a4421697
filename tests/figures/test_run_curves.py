"""The figure of groups of runs: its lines are the data."""

import io
import xml.etree.ElementTree as ElementTree

import numpy as np

from tf_trpo.figures.run_curves import Curves, GroupCurve, draw
from tf_trpo.figures.statistics import Interval
from tf_trpo.figures.style import CYCLE, styled, write


def group(label, runs=2, offset=0.0):
    x = np.linspace(0, 10, 5)
    return GroupCurve(label, runs, x, Interval(x + offset, x + offset - 1, x + offset + 1))


def test_each_group_is_a_line_and_a_band_of_its_own_colour():
    groups = [group("a", offset=1.0), group("b", offset=5.0, runs=1)]
    [axes] = draw(Curves(groups, "steps", "return")).axes
    assert len({line.get_color() for line in axes.lines}) == 2
    for line, band, of_group in zip(axes.lines, axes.collections, groups, strict=True):
        np.testing.assert_array_equal(line.get_xydata(), np.transpose([of_group.x, of_group.y.estimate]))
        edges = {tuple(point) for point in band.get_paths()[0].vertices}
        assert {*zip(of_group.x, of_group.y.low), *zip(of_group.x, of_group.y.high)} <= edges  # noqa: B905
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a (2 runs)", "b (1 run)"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("steps", "return")


def test_lines_look_different_as_long_as_there_are_looks_and_more_groups_are_drawn_too():
    looks = [
        (line.get_color(), line.get_linestyle())
        for line in draw(Curves([group(str(number)) for number in range(len(CYCLE) + 2)], "x", "y")).axes[0].lines
    ]
    assert len(looks) == len(CYCLE) + 2
    assert len(set(looks)) == len(CYCLE)


def test_labels_are_shown_as_they_are_even_if_they_look_like_mathematics():
    file = io.BytesIO()
    with styled():
        write(draw(Curves([group("a $broken \\frac{ formula$ <tag> & more")], "x", "cost in $")), file, "svg")
    ElementTree.fromstring(file.getvalue())

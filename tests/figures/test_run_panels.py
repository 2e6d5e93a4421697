"""The panels of a report: their lines are columns of the history."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from tf_trpo.figures.run_panels import PANELS, STEPS, draw_panel, draw_panels


@pytest.fixture
def history():
    rng = np.random.default_rng(0)
    columns = [line.column for panel in PANELS for line in panel.lines]
    history = {column: rng.normal(size=6) for column in columns}
    history["eval/mean_reward"][[0, 1, 3]] = np.nan
    history["train/is_line_search_success"] = np.array([1.0, 1, 0, 1, 0, 1])
    return {STEPS: np.arange(6.0) * 100, **history}


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_lines_are_the_known_values_over_steps(panel, history):
    [axes] = draw_panel(panel, history).axes
    for line, shown in zip(panel.lines, axes.lines, strict=False):
        there = ~np.isnan(history[line.column])
        np.testing.assert_array_equal(
            shown.get_xydata(), np.transpose([history[STEPS][there], history[line.column][there]])
        )
    assert axes.get_title(loc="left") or axes.get_title() == panel.title
    assert axes.get_xlabel()
    assert axes.get_ylabel()


def test_refused_steps_are_marked_where_they_were(history):
    [panel] = [panel for panel in PANELS if panel.marks_refusals]
    marks = draw_panel(panel, history).axes[0].lines[-1]
    np.testing.assert_array_equal(
        marks.get_xydata(), [[x, history["train/backtracks"][int(x // 100)]] for x in (200, 400)]
    )
    assert marks.get_label() == "step refused (2)"


def test_the_panels_are_what_a_report_needs_and_are_svg(history):
    drawn = draw_panels(history)
    assert list(drawn) == [panel.title for panel in PANELS]
    for svg in drawn.values():
        assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert drawn == draw_panels(history)


def test_a_panel_without_any_of_its_columns_is_left_out(history):
    for column in ("eval/mean_reward", "train/std", "train/backtracks", "train/is_line_search_success"):
        del history[column]
    assert list(draw_panels(history)) == [panel.title for panel in PANELS if panel.title != "Line search"]
    assert draw_panels({STEPS: history[STEPS]}) == {}

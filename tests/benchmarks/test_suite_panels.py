"""The figure of a suite beside others: its lines are the data, and the same thing looks the same in every panel."""

import math

import numpy as np
from scipy import stats

from benchmarks.suite_panels import Final, Runs, compute, draw
from benchmarks.tables import CurvePoint, PublishedResult, RunResult
from tf_trpo.figures.statistics import interquartile_mean

RANDOM = np.random.default_rng(0)
STEPS = (10_000, 20_000, 30_000)
RETURNS = RANDOM.normal(size=(5, len(STEPS)))


def curves(env, name, returns, steps=STEPS):
    return [
        CurvePoint(env, name, seed, step, value, math.nan, math.nan)
        for seed, row in enumerate(returns)
        for step, value in zip(steps, row, strict=False)
    ]


def published(env, source, value, algorithm="TRPO", steps=30_000):
    return PublishedResult(env, source, algorithm, steps, 3, "", "", value, math.nan, "")


def results(env, name, returns, steps=30_000):
    rows = enumerate(returns)
    return [RunResult(env, name, seed, steps, value - 5.0, 0.0, value, 0.0, 20, 1.0, "") for seed, value in rows]


POINTS = curves("B-v5", "trpo", RETURNS) + curves("A-v1", "other", RETURNS[:2]) + curves("A-v1", "trpo", RETURNS[:1])
OURS, NONE = Runs(POINTS, []), Runs([], [])


def test_a_panel_has_our_curves_and_others_of_the_same_environment():
    peers = curves("B-v5", "peer", [[*row, 9.0] for row in RETURNS[:3] + 1], (*STEPS, 40_000))
    first, second = compute(OURS, Runs(peers + curves("C-v1", "peer", RETURNS), []), [])
    assert (first.env, second.env) == ("A-v1", "B-v5")
    assert [(group.label, group.runs) for group in first.groups] == [("ours, other", 2), ("ours, trpo", 1)]
    ours, theirs = second.groups
    assert [(group.label, group.runs) for group in second.groups] == [("ours, trpo", 5), ("peer", 3)]
    np.testing.assert_array_equal(ours.x, STEPS)
    np.testing.assert_allclose(ours.y.estimate, stats.trim_mean(RETURNS, 0.25))
    np.testing.assert_array_equal(theirs.x, STEPS)  # no further than ours
    np.testing.assert_allclose(theirs.y.estimate, RETURNS[:3].mean(axis=0) + 1)


def test_published_figures_are_of_the_same_task_and_algorithm_after_no_more_steps():
    figures = [
        published("B-v3", "late", 1.0, steps=30_001),
        published("B-v3", "one", 2.0, "PPO"),
        published("B-v3", "one", 3.0),
        published("B-v3", "one", 4.0),
        published("B", "two", 5.0, steps=10_000),
        published("Bother-v3", "three", 6.0),
        published("A-very-v1", "four", 7.0),
    ]
    first, second = compute(OURS, NONE, figures)
    assert first.levels == {}
    assert second.levels == {"one": 3.0, "two": 5.0}


def test_a_dot_is_of_sampled_actions_and_where_training_ended():
    ours = results("B-v5", "trpo", RETURNS[:, 0]) + results("A-v1", "other", [1.0, 2.0])
    ours += results("A-v1", "trpo", [3.0], 20_000)
    theirs = results("B-v5", "peer", [7.0, 8.0]) + results("B-v5", "longer", [9.0], 30_001)
    peers = Runs(curves("B-v5", "peer", RETURNS[:3]), theirs)
    panels = compute(Runs(POINTS, ours), peers, [])
    first, second = panels
    assert first.finals == [
        Final("ours, other", 30_000, interquartile_mean(np.array([1.0, 2.0]))),
        Final("ours, trpo", 20_000, interquartile_mean(np.array([3.0]))),
    ]
    assert second.finals == [
        Final("ours, trpo", 30_000, interquartile_mean(RETURNS[:, 0])),
        Final("peer", 30_000, interquartile_mean(np.array([7.0, 8.0]))),
    ]
    for axes, panel in zip(draw(panels).axes, panels, strict=True):
        dots = [line.get_xydata()[0] for line in axes.lines if line.get_marker() == "o"]
        np.testing.assert_allclose(dots, [(final.steps / 1000, final.returns.estimate) for final in panel.finals])
        bars = [bar.get_segments()[0][:, 1] for bar in axes.collections if hasattr(bar, "get_segments")]
        np.testing.assert_allclose(bars, [(final.returns.low, final.returns.high) for final in panel.finals])


def test_the_lines_of_a_figure_are_the_data_and_a_label_looks_alike_in_all_panels():
    figures = [published("A-v1", "one", 0.5), published("B-v1", "two", 0.25), published("B-v1", "one", 0.75)]
    peers = curves("A-v1", "peer", RETURNS[:2]) + curves("B-v5", "peer", RETURNS[:3])
    panels = compute(OURS, Runs(peers, []), figures)
    looks = {}
    for axes, panel in zip(draw(panels).axes, panels, strict=True):
        lines = {line.get_label(): line for line in axes.lines}
        for group in panel.groups:
            drawn = [group.x / 1000, group.y.estimate]
            np.testing.assert_allclose(lines[group.label].get_xydata(), np.transpose(drawn))
        for source, level in panel.levels.items():
            assert set(lines[source].get_ydata()) == {level}
        for label, line in lines.items():
            looks.setdefault(label, set()).add((line.get_color(), str(line._dash_pattern)))
    assert all(len(looks_of) == 1 for looks_of in looks.values())
    assert len({look for looks_of in looks.values() for look in looks_of}) == len(looks) == 5

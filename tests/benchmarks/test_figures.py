"""Figures of results: lines, levels and dots are the data, and the data of figure 6 agree with the lecture."""

import itertools
import math
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks import learning_curves
from benchmarks.suite_panels import Final, Runs, compute, draw
from benchmarks.tables import CurvePoint, PublishedResult, RunResult, write_table
from tf_trpo.figures.statistics import interquartile_mean

RANDOM = np.random.default_rng(0)
STEPS = (10_000, 20_000, 30_000)
RETURNS = RANDOM.normal(size=(5, len(STEPS)))


def curves(env, name, returns, steps=STEPS, kls=None):
    """Curve points for each seed (rows) and step (columns)."""
    kls = np.full(np.shape(returns), math.nan) if kls is None else kls
    return [
        CurvePoint(env, name, seed, step, returns[seed][i], kls[seed][i], 2 * kls[seed][i])
        for seed in range(len(returns))
        for i, step in enumerate(steps)
    ]


def published(env, source, value, algorithm="TRPO", steps=30_000):
    return PublishedResult(env, source, algorithm, steps, 3, "", "", value, math.nan, "")


def results(env, name, returns, steps=30_000):
    rows = enumerate(returns)
    return [RunResult(env, name, seed, steps, value - 5.0, 0.0, value, 0.0, 20, 1.0, "") for seed, value in rows]


POINTS = curves("B-v5", "trpo", RETURNS) + curves("A-v1", "other", RETURNS[:2]) + curves("A-v1", "trpo", RETURNS[:1])
OURS, NONE = Runs(POINTS, []), Runs([], [])


def test_a_panel_has_our_curves_and_the_peers_of_the_same_environment():
    peers = curves("B-v5", "peer", [[*row, 9.0] for row in RETURNS[:3] + 1], (*STEPS, 40_000))
    first, second = compute(OURS, Runs(peers + curves("C-v1", "peer", RETURNS), []), [])
    assert (first.env, second.env) == ("A-v1", "B-v5")
    assert [(group.label, group.runs) for group in first.groups] == [("ours, other", 2), ("ours, trpo", 1)]
    ours, theirs = second.groups
    assert [(group.label, group.runs) for group in second.groups] == [("ours, trpo", 5), ("peer", 3)]
    np.testing.assert_array_equal(ours.x, STEPS)
    np.testing.assert_allclose(ours.y.estimate, stats.trim_mean(RETURNS, 0.25))
    np.testing.assert_array_equal(theirs.x, STEPS)  # cut at the end of ours
    np.testing.assert_allclose(theirs.y.estimate, RETURNS[:3].mean(axis=0) + 1)


def test_published_results_are_of_the_same_task_and_algorithm_and_not_more_steps():
    figures = [published("B-v3", "late", 1.0, steps=30_001), published("B-v3", "one", 2.0, "PPO")]
    figures += [published("B-v3", "one", 3.0), published("B-v3", "one", 4.0), published("B", "two", 5.0, steps=10_000)]
    figures += [published("Bother-v3", "three", 6.0), published("A-very-v1", "four", 7.0)]
    panels = compute(OURS, NONE, figures)
    first, second = panels
    assert first.levels == {}
    assert second.levels == {"one": 3.0, "two": 5.0}
    lines = {line.get_label(): set(line.get_ydata()) for line in draw(panels).axes[1].lines}
    assert (lines["one"], lines["two"]) == ({3.0}, {5.0})


def test_a_dot_is_the_return_of_sampled_actions_at_the_end_of_training():
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
        lines = {line.get_label(): line.get_xydata() for line in axes.lines}
        for group in panel.groups:
            np.testing.assert_allclose(lines[group.label], np.transpose([group.x / 1000, group.y.estimate]))
        dots = [line.get_xydata()[0] for line in axes.lines if line.get_marker() == "o"]
        np.testing.assert_allclose(dots, [(final.steps / 1000, final.returns.estimate) for final in panel.finals])
        bars = [bar.get_segments()[0][:, 1] for bar in axes.collections if hasattr(bar, "get_segments")]
        np.testing.assert_allclose(bars, [(final.returns.low, final.returns.high) for final in panel.finals])


def computed(folder, rows):
    """The figure's data for a table of these points, and of one point for every other line."""
    there = {row[:2] for row in rows}
    others = set(itertools.product(learning_curves.ENVIRONMENTS, learning_curves.LINES)) - there
    write_table(folder / "curves.csv", [*rows, *(CurvePoint(*line, 0, 10, 1.0, 0.1, 0.1) for line in others)])
    return learning_curves.compute(folder / "curves.csv")


def test_a_curve_is_the_interquartile_mean_and_the_geometric_mean_of_its_seeds(tmp_path):
    returns = np.array([[1.0, 2.0], [3.0, 5.0], [10.0, 4.0], [100.0, 0.0]])
    kls = np.array([[0.1, 0.01], [0.1, 0.02], [0.1, 0.04], [0.2, 0.08]])
    rows = curves("CartPole-v1", "trpo", returns, (50, 100), kls)
    curve = computed(tmp_path, rows + curves("Pendulum-v1", "trpo", returns, (50, 100), kls))["CartPole-v1", "trpo"]
    np.testing.assert_array_equal(curve.steps, [50, 100])
    np.testing.assert_allclose(curve.returns.estimate, stats.trim_mean(returns, 0.25))
    assert np.all((curve.returns.low <= curve.returns.estimate) & (curve.returns.estimate <= curve.returns.high))
    np.testing.assert_allclose(curve.kl, stats.gmean(kls))
    np.testing.assert_allclose(curve.largest_kl, [0.4, 0.16])
    assert curve.seeds == 4


def test_refused_steps_and_missing_windows_leave_gaps_in_their_seed_only(tmp_path):
    rows = curves("CartPole-v1", "trpo", [[1.0, 2.0], [3.0, 4.0]], (50, 100), np.array([[0.1, 0.0], [0.4, 0.3]]))[:-1]
    rows.append(CurvePoint("CartPole-v1", "trpo", 1, 150, 5.0, 0.2, 0.2))
    curve = computed(tmp_path, rows)["CartPole-v1", "trpo"]
    np.testing.assert_allclose(curve.kl, [0.2, np.nan, 0.2])
    np.testing.assert_allclose(curve.returns.estimate, [2.0, np.nan, np.nan])


def test_the_table_in_the_repository_agrees_with_the_lecture():
    """Steps with the theory's C are tiny; only TRPO keeps every update within its limit."""
    data = learning_curves.compute(Path(__file__).parents[2] / learning_curves.TABLE)
    assert set(data) == {(env, name) for env in learning_curves.ENVIRONMENTS for name in learning_curves.LINES}
    assert all(curve.seeds >= 5 for curve in data.values())
    for env, max_kl in zip(learning_curves.ENVIRONMENTS, (0.01, 0.03), strict=True):
        kls = {name: data[env, name] for name in learning_curves.LINES}
        assert np.nanmax(kls["kl-penalty-theory"].largest_kl) < 1e-4
        assert np.nanmax(kls["trpo"].largest_kl) <= max_kl
        for name in ("vanilla-policy-gradient", "kl-penalty", "natural-policy-gradient"):
            assert np.nanmax(kls[name].largest_kl) > max_kl

"""Statistics over tasks against loops over runs."""

import numpy as np
import pytest

from benchmarks.scores import (
    interquartile_mean_over_tasks,
    normalized,
    performance_profile,
    probability_of_improvement,
)

RNG = np.random.default_rng(0)
OURS = [RNG.normal(1.0, 0.3, size) for size in (3, 5, 4)]
THEIRS = [RNG.normal(0.8, 0.3, size) for size in (2, 3, 6)]


def test_random_actions_score_0_and_the_best_policy_scores_1():
    np.testing.assert_allclose(normalized(np.array([-20.0, 80.0, 30.0]), -20.0, 80.0), [0.0, 1.0, 0.5])


def test_the_interquartile_mean_leaves_out_a_quarter_of_the_runs_at_each_end():
    # As rliable: of all runs if the tasks have equal numbers, whatever their number.
    for scores in (RNG.normal(1.0, 0.3, (3, 4)), RNG.normal(1.0, 0.3, (5, 3))):
        assert interquartile_mean_over_tasks(scores).estimate == pytest.approx(np.sort(scores, None)[3:-3].mean())


def test_a_task_with_more_seeds_weighs_no_more_in_the_interquartile_mean():
    # 60 is divisible by the numbers of seeds and by 4; a quarter of the weight of all runs is 45.
    weighted = sorted((score, 60 // len(task)) for task in OURS for score in task)
    runs = np.concatenate([np.full(weight, score) for score, weight in weighted])
    found = interquartile_mean_over_tasks(OURS)
    assert found.estimate == pytest.approx(runs[45:-45].mean())
    assert found.low < found.estimate < found.high
    returns = [0.0, 0.1, 0.5, 1.0]
    for seeds in ((3, 3, 3, 3), (3, 3, 3, 5), (7, 1, 2, 3)):
        tasks = [np.full(count, value) for count, value in zip(seeds, returns, strict=True)]
        assert interquartile_mean_over_tasks(tasks).estimate == pytest.approx(0.3)


def test_the_probability_of_improvement_counts_pairs_and_half_of_ties():
    tasks = [
        np.mean([1.0 if x > y else 0.5 if x == y else 0.0 for x in a for y in b])
        for a, b in zip(OURS, THEIRS, strict=True)
    ]
    found = probability_of_improvement(OURS, THEIRS)
    assert found.estimate == pytest.approx(np.mean(tasks))
    assert found.low < found.estimate < found.high
    assert probability_of_improvement([np.ones(2)], [np.ones(3)]).estimate == 0.5
    assert probability_of_improvement([np.ones(2)], [np.zeros(3)]).estimate == 1.0


def test_the_bootstrap_resamples_seeds_within_their_task():
    # One seed per task, so that resampling changes nothing.
    scores, others = [np.array([0.2]), np.array([0.9])], [np.array([0.3]), np.array([0.1])]
    assert interquartile_mean_over_tasks(scores)[:] == pytest.approx((0.55, 0.55, 0.55))
    assert probability_of_improvement(scores, others)[:] == (0.5, 0.5, 0.5)


def test_the_profile_is_the_share_of_runs_above_each_level():
    levels = np.array([-1.0, 0.5, 1.0, 9.0])
    expected = [np.mean([np.mean([x > level for x in task]) for task in OURS]) for level in levels]
    np.testing.assert_allclose(performance_profile(OURS, levels), expected)
    assert expected[0] == 1.0
    assert expected[-1] == 0.0

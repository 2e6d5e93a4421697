"""The verdict about the best settings: better only if the interval of paired differences is above 0."""

import numpy as np
import pytest
from scipy import stats

from tf_trpo.tuning.comparison import Comparison, compared


def of(default, best):
    return Comparison(tuple(range(len(default))), tuple(default), tuple(best))


def test_the_interval_is_that_of_the_paired_t_test():
    rng = np.random.default_rng(0)
    default, best = rng.normal(100, 20, 6), rng.normal(110, 20, 6)
    comparison = of(default, best)
    interval = stats.ttest_rel(best, default).confidence_interval(0.95)
    np.testing.assert_allclose(comparison.interval, (interval.low, interval.high), rtol=1e-12)
    assert comparison.difference == pytest.approx(np.mean(best - default))
    assert comparison.is_better == (stats.ttest_rel(best, default).pvalue < 0.05 and comparison.difference > 0)


def test_pairs_of_equal_seeds_are_compared():
    # Seeds differ by hundreds, and each pair by about ten.
    comparison = of([100.0, 300.0, 500.0, 700.0], [110.0, 311.0, 509.0, 710.0])
    assert comparison.is_better
    assert "they are better." in comparison.verdict(800.0)


def test_an_equal_result_is_not_better():
    comparison = of([5.0, 6.0, 7.0], [5.0, 6.0, 7.0])
    assert comparison.interval == (0.0, 0.0)
    assert not comparison.is_better
    assert not comparison.is_worse
    verdict = comparison.verdict(9.0)
    assert "they are NOT shown to be better. Keep the default settings" in verdict
    assert "In the search, the best trial returned 9; the best of many is always partly luck." in verdict


def test_a_difference_within_the_noise_is_not_better():
    comparison = of([100.0, 110.0, 90.0], [130.0, 80.0, 120.0])
    assert comparison.difference > 0
    assert "NOT shown to be better" in comparison.verdict(130.0)


def test_worse_settings_are_called_worse():
    comparison = of([10.0, 11.0, 12.0], [1.0, 2.0, 3.5])
    assert comparison.is_worse
    assert "they are WORSE. Keep the default settings." in comparison.verdict(20.0)


def test_one_seed_gives_no_verdict():
    comparison = of([1.0], [100.0])
    assert comparison.interval is None
    assert not comparison.is_better
    assert "one seed cannot show" in comparison.verdict(100.0)


def test_every_seed_needs_both_returns():
    with pytest.raises(ValueError, match="2 seeds have 2 and 1 returns"):
        compared([1, 3], [1.0, 2.0], [1.0])

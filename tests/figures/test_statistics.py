"""Statistics over seeds against their definitions."""

import numpy as np
import pytest

from tf_trpo.figures.statistics import interquartile_mean, mean


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0], 3.0),
        ([1.0, 5.0], 3.0),
        ([9.0, 1.0, 2.0, 6.0], 4.0),
        ([100.0, 2.0, 3.0, 4.0, -50.0], 3.0),
        ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 1000.0], 3.5),
    ],
)
def test_it_is_the_mean_without_a_quarter_of_the_seeds_at_each_end(values, expected):
    assert interquartile_mean(values).estimate == expected


def test_the_interval_is_that_of_a_loop_over_resampled_seeds():
    rng = np.random.default_rng(3)
    values = rng.normal(size=8)
    result = interquartile_mean(values)
    means = [np.sort(rng.choice(values, 8))[2:6].mean() for _ in range(20_000)]
    np.testing.assert_allclose([result.low, result.high], np.quantile(means, [0.025, 0.975]), atol=0.06)
    assert result.low < result.estimate < result.high


def test_the_mean_uses_all_seeds_and_its_interval_is_that_of_a_loop():
    rng = np.random.default_rng(4)
    values = rng.normal(size=7)
    result = mean(values)
    assert result.estimate == pytest.approx(values.mean())
    means = [rng.choice(values, 7).mean() for _ in range(20_000)]
    np.testing.assert_allclose([result.low, result.high], np.quantile(means, [0.025, 0.975]), atol=0.06)


def test_the_interval_covers_the_true_value_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    samples = rng.normal(5.0, 2.0, size=(30, 200))
    result = interquartile_mean(samples)
    covered = np.mean((result.low <= 5.0) & (result.high >= 5.0))
    assert 0.88 < covered < 0.98


def test_each_position_is_summarised_independently():
    values = np.random.default_rng(1).normal(size=(6, 3, 2))
    result = interquartile_mean(values)
    assert result.estimate.shape == result.low.shape == result.high.shape == (3, 2)
    np.testing.assert_array_equal(result, interquartile_mean(values))  # The same seed gives the same resamples.
    for place in np.ndindex(3, 2):
        assert result.estimate[place] == pytest.approx(interquartile_mean(values[:, *place]).estimate)


@pytest.mark.parametrize("statistic", [interquartile_mean, mean])
def test_an_interval_holds_its_estimate_where_all_seeds_are_equal(statistic):
    equal = [[9359.77, 0.1]] * 10
    result = statistic(equal)
    assert (result.low <= result.estimate).all()
    assert (result.estimate <= result.high).all()
    np.testing.assert_allclose([result.low, result.high], [equal[0]] * 2)


def test_one_seed_has_no_spread():
    assert interquartile_mean([[1.0, 2.0]])._asdict() == {
        name: pytest.approx([1.0, 2.0]) for name in ("estimate", "low", "high")
    }


def test_an_unknown_seed_is_not_trimmed_away():
    result = interquartile_mean([[1.0, 1.0], [2.0, np.nan], [3.0, 3.0], [4.0, 4.0]])
    np.testing.assert_array_equal(np.isnan(result.estimate), [False, True])
    assert np.isfinite([result.low[0], result.high[0]]).all()


@pytest.mark.parametrize("values", [[], 3.0])
def test_no_seed_is_refused(values):
    with pytest.raises(ValueError, match="at least one"):
        interquartile_mean(values)

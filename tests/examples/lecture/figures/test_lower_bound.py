"""The three curves are ordered, and the marked region is one of improvement."""

import numpy as np
import pytest

from examples.lecture.figures.lower_bound import ridge
from tf_trpo.theory import lower_bound


@pytest.fixture(scope="module")
def data(figure_of):
    return figure_of(5)[1]


def test_marked_region_is_where_the_bound_guarantees_improvement(data):
    inside = data.alpha <= data.guaranteed_until
    start = data.expected_returns[0]
    assert (data.lower_bounds[inside] >= start - 1e-12).all()
    assert (data.expected_returns[inside] >= start - 1e-12).all()
    assert (data.lower_bounds[~inside] < start).all()
    assert 0 < data.best_alpha < data.guaranteed_until


def test_improvement_goes_on_beyond_the_guarantee_and_ends_where_it_is_marked(data):
    start = data.expected_returns[0]
    assert data.guaranteed_until < data.improved_until < 1
    assert (data.expected_returns[data.alpha <= data.improved_until] >= start - 1e-12).all()
    assert (data.expected_returns[data.alpha > data.improved_until] < start).all()
    # The local approximation never warns of it.
    assert (np.diff(data.approximations) > 0).all()


def test_best_point_of_the_line_is_the_bounds_maximum(data):
    mdp, old_policy, target = ridge()
    mixed = (1 - data.best_alpha) * old_policy + data.best_alpha * target
    assert lower_bound(mdp.evaluate(old_policy), mixed) >= data.lower_bounds.max() - 1e-12

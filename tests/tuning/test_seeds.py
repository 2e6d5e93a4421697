"""Seeds of the search and of the final check are disjoint."""

from hypothesis import given
from hypothesis import strategies as st

from tf_trpo.ranges import LARGEST_INTEGER
from tf_trpo.tuning.seeds import check_seeds, sampler_seed, search_seeds
from tf_trpo.tuning.tuning import MOST_SEEDS

SEEDS = st.integers(0, LARGEST_INTEGER)
COUNTS = st.integers(1, MOST_SEEDS)


@given(SEEDS, SEEDS, COUNTS, COUNTS)
def test_search_and_check_share_no_seed_whatever_the_seeds_of_two_searches_are(one, other, count, many):
    search, check = search_seeds(one, count), check_seeds(other, many)
    assert not set(search) & set(check)
    assert len(set(search)) == count
    assert len(set(check)) == many
    assert all(0 <= seed <= LARGEST_INTEGER for seed in search + check)


@given(SEEDS, COUNTS)
def test_fewer_seeds_are_the_beginning_of_more_seeds(seed, count):
    assert check_seeds(seed, count + 5)[:count] == check_seeds(seed, count)


def test_each_trial_is_drawn_from_its_own_seed():
    assert len({sampler_seed(seed, trial) for seed in range(10) for trial in range(100)}) == 1000

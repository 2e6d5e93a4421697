"""Seeds as functions of (seed, stream, position): repeatable, and none used twice."""

import itertools

import numpy as np

from tf_trpo.rollouts import Stream, environment_seeds, operation_seed


def test_the_same_arguments_give_the_same_seeds():
    assert environment_seeds(3, Stream.ENVIRONMENTS, 4) == environment_seeds(3, Stream.ENVIRONMENTS, 4)
    np.testing.assert_array_equal(operation_seed(3, Stream.ACTIONS, 5), operation_seed(3, Stream.ACTIONS, 5))


def test_no_seed_of_an_environment_is_used_twice():
    seeds = [
        seed
        for run, stream, position, began_at in itertools.product(range(10), Stream, range(3), (0, 1, 40))
        for seed in environment_seeds(run, stream, 8, position, began_at=began_at)
    ]
    assert len(set(seeds)) == len(seeds) == 10 * len(Stream) * 3 * 3 * 8


def test_no_seed_of_an_operation_is_used_twice():
    seeds = {
        tuple(operation_seed(run, stream, position).numpy())
        for run, stream, position in itertools.product(range(10), Stream, range(20))
    }
    assert len(seeds) == 10 * len(Stream) * 20


def test_seeds_are_of_the_types_that_take_them():
    assert operation_seed(0, Stream.ACTIONS).dtype == "int32"
    assert operation_seed(0, Stream.ACTIONS).shape == [2]
    seeds = environment_seeds(0, Stream.ENVIRONMENTS, 100)
    assert {type(seed) for seed in seeds} == {int}
    assert 0 <= min(seeds) <= max(seeds) < 2**31

"""Sums over parts of a batch, compared with closed forms."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.optimizers import Objective, TrustRegion
from tf_trpo.optimizers.objective import WeightedEntropy
from tf_trpo.optimizers.parted_objective import CrewSums, Home, NotedFunctions, PartedObjective
from tf_trpo.optimizers.parts import PartComputer, cut, saved_functions

SAMPLES, PARTS = 48, 5


@functools.cache
def functions(small):
    """Save all functions of a part, in chunks of 4 samples."""
    noted = NotedFunctions(PARTS, chunk_size=4)

    def note(batch, theta):
        objective = PartedObjective(small.policy, batch, theta, None, 0.5, sums=noted)
        objective.gradient()
        objective.gradient(WeightedEntropy(objective.entropy, tf.constant(0.5, tf.float64)))
        objective.figures(theta)
        objective.fisher_vector_product(kind="double-backprop")(theta)
        objective.fisher_vector_product(fraction=0.5)(theta)
        return theta

    tf.function(note, autograph=False).get_concrete_function(small.batch(0, samples=SAMPLES), small.policy.flat_weights)
    return saved_functions(small.policy, noted.functions)


def parted(small, batch, crew=None):
    sums = CrewSums(crew or Home(), PARTS, functions(small))
    return PartedObjective(small.policy, batch, small.policy.flat_weights, None, 0.5, sums=sums)


@pytest.fixture(params=["fixed-std", pytest.param("categorical", marks=pytest.mark.slow)])
def small(request, make_stepper):
    return make_stepper(TrustRegion(0.01), request.param).small


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_sums_of_parts_equal_the_closed_forms_of_the_batch(seed, small):
    small.restart(seed)
    batch = small.batch(seed, samples=SAMPLES, padding=7)
    objective, whole = parted(small, batch), Objective(small.policy, batch, small.policy.flat_weights)
    assert_close(objective.gradient(), small.gradient(batch))
    weighted = [WeightedEntropy(each.entropy, tf.constant(0.5, tf.float64)) for each in (objective, whole)]
    assert_close(objective.gradient(weighted[0]), whole.gradient(weighted[1]))
    vector = np.random.default_rng(seed).normal(size=whole.theta.shape).astype(np.float32)
    image = objective.fisher_vector_product(kind="double-backprop")(tf.constant(vector))
    assert_close(image, small.fisher(batch) @ vector)
    halves = [each.fisher_vector_product(fraction=0.5)(tf.constant(vector)) for each in (objective, whole)]
    assert_close(*halves)
    old = small.parameters(batch)
    small.assign(whole.theta + 0.05 * vector)
    expected = small.figures(old, batch)
    for name, figure in objective.figures(small.policy.flat_weights)._asdict().items():
        # The parts use the weights with which the batch was sampled, although the policy has other weights now.
        np.testing.assert_allclose(figure, expected[name], rtol=1e-4, atol=1e-9)


def test_the_parts_of_a_batch_have_equal_sizes_and_the_last_ones_are_padded():
    rows = {"a": np.arange(9), "b": np.ones((9, 2))}, np.full(9, 1 / 9), np.arange(9) + 100
    parts = cut(rows, 8)
    assert [part[0].tolist() for part in parts] == [[0, 1], [2, 3], [4, 5], [6, 7], *[[8, 8]] * 4]
    assert [np.count_nonzero(part[2]) for part in parts] == [2, 2, 2, 2, 1, 0, 0, 0]
    assert {part[1].shape for part in parts} == {(2, 2)}
    assert [part[3].tolist() for part in parts][-1] == [108, 108]


class Unreliable(Home):
    """Fetches nothing at the first attempt; a part that fails is computed after the others."""

    def __init__(self):
        self._computer, self._seen = PartComputer(self.fetch), set()

    def put(self, value):
        return id(value), value

    def fetch(self, reference):
        if reference[0] not in self._seen:
            self._seen.add(reference[0])
            raise OSError
        return reference[1]

    def compute(self, requests):
        found, waiting = {}, list(enumerate(requests))
        while waiting:
            place, request = waiting.pop(0)
            try:
                found[place] = self._computer.compute(request)
            except OSError:
                waiting.append((place, request))
        return [found[place] for place in range(len(requests))]


def test_a_value_that_could_not_be_fetched_is_fetched_for_the_next_part(small):
    crew, sums = Unreliable(), []
    for seed in range(2):
        small.restart(seed)
        batch = small.batch(seed, samples=SAMPLES)
        vectors = tf.random.stateless_normal([2, *small.policy.flat_weights.shape], [seed, 0])
        for each in (parted(small, batch, crew), parted(small, batch)):
            product = each.fisher_vector_product(kind="double-backprop")
            sums.append([np.array(array).tolist() for array in (each.gradient(), *map(product, tf.unstack(vectors)))])
    assert sums[0::2] == sums[1::2]


def test_functions_that_are_not_computed_in_parts_are_refused(small):
    objective = parted(small, small.batch(0, samples=SAMPLES))
    with pytest.raises(ValueError, match="its step needs minibatches, which are not computed in parts"):
        objective.minibatch_gradient(objective.improvement, objective.theta, tf.range(3), tf.ones(3))
    with pytest.raises(ValueError, match="limits in addition to its KL, or costs in its advantages"):
        objective.with_samples(advantages=tf.zeros(SAMPLES))
    with pytest.raises(ValueError, match="another gradient than those of the surrogate and the entropy"):
        objective.gradient(objective.kl)

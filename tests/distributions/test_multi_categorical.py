"""Several discrete numbers: each is a categorical distribution, and everything is a sum over them."""

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_trpo.distributions import Categorical, MultiCategorical
from tf_trpo.numerics import Reflection

SIZES = [[3, 1], [2, 5]]


@settings(max_examples=10)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_everything_is_a_sum_or_concatenation_over_categorical_distributions(sizes):
    both, singles = MultiCategorical(sizes), [Categorical(size) for size in sizes]
    ends = np.cumsum(sizes)[:-1]
    p, q, u = 2 * np.random.default_rng(0).normal(size=(3, 4, sum(sizes)))
    split = [[tf.constant(part) for part in np.split(values, ends, axis=1)] for values in (p, q, u)]
    actions = np.stack([np.random.default_rng(3).integers(0, size, 4) for size in sizes], axis=1).astype(np.int32)
    total = sum(one.log_prob(of, actions[:, i]) for i, (one, of) in enumerate(zip(singles, split[0], strict=True)))
    np.testing.assert_allclose(both.log_prob(tf.constant(p), tf.constant(actions)), total, rtol=1e-10, atol=1e-12)
    total = sum(one.kl(of, to) for one, of, to in zip(singles, *split[:2], strict=True))
    np.testing.assert_allclose(both.kl(tf.constant(p), tf.constant(q)), total, rtol=1e-10, atol=1e-12)
    total = sum(one.entropy(of) for one, of in zip(singles, split[0], strict=True))
    np.testing.assert_allclose(both.entropy(tf.constant(p)), total, rtol=1e-10, atol=1e-12)
    images = [one.metric_product(of, by) for one, of, by in zip(singles, split[0], split[2], strict=True)]
    np.testing.assert_allclose(
        both.metric_product(tf.constant(p), tf.constant(u)), np.concatenate(images, axis=1), rtol=1e-10
    )
    noise = [tf.constant(part) for part in np.split(q, ends, axis=1)]
    sampled = np.stack([one.sample(of, by) for one, of, by in zip(singles, split[0], noise, strict=True)], axis=1)
    np.testing.assert_array_equal(both.sample(tf.constant(p), tf.concat(noise, axis=1)), sampled)
    np.testing.assert_array_equal(
        both.mode(tf.constant(p)), np.stack([of.numpy().argmax(1) for of in split[0]], axis=1)
    )
    np.testing.assert_array_equal(both.mode(tf.constant(p)), both.distribution(tf.constant(p)).mode())


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_actions_are_the_environments_own(dtype):
    start = np.array([[0, 3 if dtype == "uint8" else -3], [7, 100]])
    distribution = MultiCategorical(SIZES, start, action_dtype=dtype)
    space = gym.spaces.MultiDiscrete(np.array(SIZES), np.dtype(dtype).type, start=start)
    sampled = distribution.sample(tf.zeros([200, 11]), distribution.noise([200], tf.constant([1, 2]))).numpy()
    assert sampled.dtype == np.int32
    assert {tuple(row) for row in sampled[:, 2:].tolist()} == {(a, b) for a in range(2) for b in range(5)}
    expected = sampled.reshape(200, 2, 2) + start
    for own in (distribution.environment_actions(sampled), distribution.to_environment(tf.constant(sampled)).numpy()):
        assert own.dtype == dtype
        np.testing.assert_array_equal(own, expected)
        assert all(space.contains(action) for action in own)
    in_time = distribution.environment_actions(sampled.reshape(4, 50, 4))
    np.testing.assert_array_equal(in_time, expected.reshape(4, 50, 2, 2))


def test_the_mirror_exchanges_numbers_or_choices():
    distribution = MultiCategorical([2, 3, 2])
    for sources in [(5, 6, 2, 3, 4, 0, 1), (0, 1, 4, 3, 2, 5, 6)]:
        reflection = Reflection(sources, (1,) * 7)
        assert distribution.mirrored(reflection) == reflection
    for reflection, message in [
        (Reflection((0, 2, 1, 3, 4, 5, 6), (1,) * 7), "with the choices of one number"),
        (Reflection(tuple(range(7)), (-1,) * 7), "without signs"),
        (Reflection((0,), (1,)), "the mirror is one of 1 choices, not of 7"),
    ]:
        with pytest.raises(ValueError, match=message):
            distribution.mirrored(reflection)


@pytest.mark.parametrize(("sizes", "first"), [([], None), ([0, 2], None), ([2.0], None), ([2], [0, 0]), ("q", None)])
def test_numbers_without_choices_are_refused(sizes, first):
    with pytest.raises(ValueError, match="must be whole numbers of at least 1"):
        MultiCategorical(sizes, first)

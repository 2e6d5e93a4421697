"""Minibatches: every sample once per epoch, in a random order."""

import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.numerics import minibatch_rows, minibatches_per_epoch, random_orders


def test_random_orders_are_permutations_and_all_equally_likely():
    orders = random_orders(6000, 3, np.random.default_rng(0))
    assert orders.dtype == np.int32
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(3), (6000, 1)))
    _, counts = np.unique(orders, axis=0, return_counts=True)
    # 1000 of each are expected, with a standard deviation of 29.
    assert len(counts) == 6
    np.testing.assert_allclose(counts, 1000, atol=150)


@pytest.mark.parametrize(("num_samples", "size"), [(12, 4), (13, 4), (5, 5), (7, 1), (4, 3)])
def test_every_epoch_counts_every_sample_once_in_its_order(num_samples, size):
    orders = random_orders(3, num_samples, np.random.default_rng(1))
    per_epoch = minibatches_per_epoch(num_samples, size)
    assert per_epoch == len(range(0, num_samples, size))
    for epoch in range(3):
        seen = []
        for step in range(epoch * per_epoch, (epoch + 1) * per_epoch):
            rows, counted = minibatch_rows(tf.constant(orders), tf.constant(step), size)
            assert rows.shape == counted.shape == (size,)
            assert np.all((rows.numpy() >= 0) & (rows.numpy() < num_samples))
            seen.extend(rows.numpy()[counted.numpy()])
        np.testing.assert_array_equal(seen, orders[epoch])

"""Masks: actions that are not allowed have probability 0, and no effect on KL, entropy, Fisher matrix, gradients."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_trpo.distributions import ActionDistribution, Categorical, MultiCategorical

SIZES = (2, 4, 1, 3)
DISTRIBUTIONS = {"one": Categorical(10), "several": MultiCategorical(SIZES)}


def ends(distribution):
    return [10] if isinstance(distribution, Categorical) else np.cumsum(SIZES).tolist()


def filled(distribution, mask):
    """Allow all choices in rows that allow none."""
    parts = np.split(mask.astype(bool), ends(distribution)[:-1], axis=1)
    return np.concatenate([part | ~part.any(axis=1, keepdims=True) for part in parts], axis=1)


def naive(distribution, logits, allowed):
    """Probabilities [N, K] and their logarithms, 0 where nothing is allowed, by loops over rows and numbers."""
    p, log_p = np.zeros_like(logits), np.zeros_like(logits)
    starts = [0, *ends(distribution)[:-1]]
    for row in range(len(logits)):
        for first, last in zip(starts, ends(distribution), strict=True):
            kept = [i for i in range(first, last) if allowed[row, i]]
            shifted = logits[row, kept] - logits[row, kept].max()
            log_p[row, kept] = shifted - np.log(np.exp(shifted).sum())
            p[row, kept] = np.exp(log_p[row, kept])
    return p, log_p


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@settings(max_examples=12)
@given(
    dtype=st.sampled_from([np.bool_, np.int8, np.float32, np.int64]),
    seed=st.integers(0, 10**6),
    share=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
)
def test_allowed_choices_are_normalised_and_the_others_have_exactly_probability_0(name, dtype, seed, share):
    distribution, rng = DISTRIBUTIONS[name], np.random.default_rng(seed)
    mask = (rng.random((6, 10)) < share).astype(dtype)
    old, new, vectors = (tf.constant(3 * rng.normal(size=(6, 10))) for _ in range(3))
    allowed = filled(distribution, mask)
    p, log_p = naive(distribution, old.numpy(), allowed)
    _, log_q = naive(distribution, new.numpy(), allowed)
    masked, other = distribution.masked(old, tf.constant(mask)), distribution.masked(new, tf.constant(mask))
    assert np.isfinite(masked).all()
    np.testing.assert_allclose(distribution.kl(masked, other), (p * (log_p - log_q)).sum(axis=1), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(distribution.entropy(masked), -(p * log_p).sum(axis=1), rtol=1e-9, atol=1e-12)
    product = distribution.metric_product(masked, vectors).numpy()
    assert (product[~allowed] == 0).all()
    hessian = ActionDistribution.metric_product(distribution, masked, vectors)
    np.testing.assert_allclose(product, hessian, rtol=1e-8, atol=1e-12)
    noise = distribution.noise([6], tf.constant([seed, 1]))
    for actions in (distribution.sample(tf.cast(masked, tf.float32), noise), distribution.mode(masked)):
        chosen = actions.numpy().reshape(6, -1) + np.array([0, *ends(distribution)[:-1]])
        assert np.take_along_axis(allowed, chosen, axis=1).all()
        expected = np.take_along_axis(log_p, chosen, axis=1).sum(axis=1)
        np.testing.assert_allclose(distribution.log_prob(masked, actions), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_gradients_are_finite_and_exactly_0_for_masked_logits(distribution, size):
    rng = np.random.default_rng(0)
    mask = (rng.random((20, 10)) < 0.3).astype(np.int8)
    mask[0] = 0
    mask[1] = np.eye(10)[3]
    logits = tf.Variable(size * rng.normal(size=(20, 10)))
    other = tf.constant(size * rng.normal(size=(20, 10)))
    with tf.GradientTape(persistent=True) as tape:
        masked = distribution.masked(logits, tf.constant(mask))
        values = [
            distribution.log_prob(masked, distribution.mode(masked)),
            distribution.kl(distribution.masked(other, tf.constant(mask)), masked),
            distribution.entropy(masked),
        ]
    for value in values:
        assert np.isfinite(value).all()
        gradient = tape.gradient(value, logits).numpy()
        assert np.isfinite(gradient).all()
        assert (gradient[~filled(distribution, mask)] == 0).all()


def test_a_single_allowed_action_is_certain():
    mask = tf.one_hot([3, 7], 10)
    masked = DISTRIBUTIONS["one"].masked(tf.random.normal([2, 10]), mask)
    np.testing.assert_array_equal(DISTRIBUTIONS["one"].entropy(masked), [0, 0])
    np.testing.assert_array_equal(DISTRIBUTIONS["one"].log_prob(masked, [3, 7]), [0, 0])


@pytest.mark.parametrize("distribution", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def test_a_mask_of_another_size_is_refused(distribution):
    assert distribution.mask_size == 10
    with pytest.raises(ValueError, match="mask must have the shape"):
        distribution.masked(tf.zeros([2, 10]), tf.zeros([2, 9]))

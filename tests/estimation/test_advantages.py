"""GAE against a double loop over streams with every kind of ending, and in closed form."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tf_trpo.estimation import gae, normalize_advantages, winsorize

STREAMS = {"seed": st.integers(0, 10_000), "length": st.integers(1, 30), "environments": st.integers(1, 3)}
FRACTIONS = st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0])


def estimate(stream, gamma, gae_lambda):
    return gae(*(tf.constant(rows) for rows in stream), gamma=gamma, gae_lambda=gae_lambda).numpy()


def td_error(stream, t, b, gamma):
    successor = 0.0 if stream.terminated[t, b] else stream.values[t + 1, b]
    return stream.rewards[t, b] + gamma * successor - stream.values[t, b]


def looped_gae(stream, gamma, gae_lambda):
    advantages = np.zeros_like(stream.rewards)
    for t, b in np.argwhere(stream.valid):
        for distance, row in enumerate(stream.episode_from(t, b)):
            advantages[t, b] += (gamma * gae_lambda) ** distance * td_error(stream, row, b, gamma)
    return advantages


def constant_reward_episode(make_stream, ending, length=12, gamma=0.9):
    """One episode of reward 1 with the value function of an endless one."""
    stream = make_stream(0, length, 1)
    values = np.full_like(stream.values, 1 / (1 - gamma))
    rewards, valid = np.ones((2, length, 1))
    terminated, truncated = np.zeros((2, length, 1))
    {"terminated": terminated, "truncated": truncated, "cut off": np.zeros((length, 1))}[ending][-1] = 1.0
    return stream._replace(rewards=rewards, values=values, terminated=terminated, truncated=truncated, valid=valid)


def test_streams_have_every_kind_of_row(make_stream):
    stream = make_stream(0, 100, 30)
    terminated, truncated, valid = (rows.astype(bool) for rows in (stream.terminated, stream.truncated, stream.valid))
    ended = terminated | truncated
    cut_off = valid[-1] & ~ended[-1]
    for kind in (terminated & ~truncated, truncated & ~terminated, terminated & truncated, ~valid, ~valid[0], cut_off):
        assert kind.any()
    np.testing.assert_array_equal(ended[:-1], ~valid[1:])
    assert not (ended & ~valid).any()


@given(**STREAMS, gamma=FRACTIONS, gae_lambda=FRACTIONS)
def test_gae_is_the_discounted_sum_of_td_errors(make_stream, seed, length, environments, gamma, gae_lambda):
    stream = make_stream(seed, length, environments)
    expected = looped_gae(stream, gamma, gae_lambda)
    np.testing.assert_allclose(estimate(stream, gamma, gae_lambda), expected, rtol=1e-10, atol=1e-12, strict=True)


@pytest.mark.parametrize("gae_lambda", [0.0, 0.8, 1.0])
@pytest.mark.parametrize("ending", ["truncated", "cut off"])
def test_the_true_value_function_leaves_no_advantage_without_termination(make_stream, ending, gae_lambda):
    stream = constant_reward_episode(make_stream, ending)
    np.testing.assert_allclose(estimate(stream, 0.9, gae_lambda), 0.0, atol=1e-13)


def test_termination_costs_the_value_of_what_would_have_followed(make_stream):
    # V = 10, and gamma V = 9 is lost at the last of 12 rows.
    stream = constant_reward_episode(make_stream, "terminated")
    expected = -9.0 * 0.72 ** np.arange(11, -1, -1)
    np.testing.assert_allclose(estimate(stream, 0.9, 0.8)[:, 0], expected, rtol=1e-10)


@given(**STREAMS)
def test_rows_that_are_not_steps_have_no_influence(make_stream, seed, length, environments):
    stream = make_stream(seed, length, environments)
    advantages = estimate(stream, 0.99, 0.95)
    garbage = stream._replace(rewards=np.where(stream.valid, stream.rewards, 1e6))
    np.testing.assert_array_equal(estimate(garbage, 0.99, 0.95), advantages)
    np.testing.assert_array_equal(advantages[stream.valid == 0], 0.0)


@given(**STREAMS)
def test_a_pause_changes_only_its_own_row(make_stream, seed, length, environments):
    """A pause steps nothing, so the observation after it is the same, within an episode and between two episodes."""
    stream = make_stream(seed, length, environments)
    times = np.sort(np.random.default_rng(seed).integers(0, length, 4))
    paused, pauses = stream.with_pauses(times)
    found = estimate(paused, 0.99, 0.95)
    np.testing.assert_allclose(np.delete(found, pauses, axis=0), estimate(stream, 0.99, 0.95), rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(found[pauses], 0.0)


@pytest.mark.parametrize("kind", ["terminated", "truncated"])
def test_nothing_leaks_across_a_reset_without_a_row_of_its_own(make_stream, kind):
    ended, nothing = np.zeros((2, 20, 2))
    ended[9] = 1.0
    stream = make_stream(1, 20, 2)._replace(terminated=nothing, truncated=nothing, valid=np.ones((20, 2)))
    stream = stream._replace(**{kind: ended})
    later = stream._replace(rewards=stream.rewards.copy(), values=stream.values.copy())
    later.rewards[10:] = later.values[11:] = 1e6
    before, after = (estimate(rows, 0.99, 0.95) for rows in (stream, later))
    np.testing.assert_array_equal(before[:10], after[:10])
    assert (before[11:] != after[11:]).all()


def test_compiled_float32_agrees(make_stream):
    stream = make_stream(2, 100, 3)
    compiled = tf.function(lambda *rows: gae(*rows, gamma=0.99, gae_lambda=0.95), jit_compile=True)
    advantages = compiled(*(tf.constant(rows, tf.float32) for rows in stream))
    assert advantages.dtype == tf.float32
    np.testing.assert_allclose(advantages, looped_gae(stream, 0.99, 0.95), rtol=1e-4, atol=1e-4)


def padded_samples(seed, size):
    """Samples, of which the last are valid, and weights of the mean over the valid samples."""
    generator = np.random.default_rng(seed)
    valid = generator.random(size) < 0.7
    valid[-2:] = True
    return generator.normal(size=size), valid / valid.sum()


@given(seed=st.integers(0, 10_000), size=st.integers(2, 60), shift=st.sampled_from([0.0, -3.0, 1e4]))
def test_normalized_advantages_have_mean_0_and_std_1_over_valid_samples(seed, size, shift):
    samples, weights = padded_samples(seed, size)
    samples[weights == 0] = 1e12
    normalized = normalize_advantages(tf.constant(samples + shift), tf.constant(weights)).numpy()
    kept, valid_samples = normalized[weights > 0], samples[weights > 0]
    np.testing.assert_allclose(kept.mean(), 0.0, atol=1e-6)
    np.testing.assert_allclose(kept.std(), 1.0, rtol=1e-4)
    np.testing.assert_allclose(kept, (valid_samples - valid_samples.mean()) / valid_samples.std(), atol=1e-4)
    np.testing.assert_array_equal(normalized[weights == 0], 0.0)


@pytest.mark.parametrize("spread", [1e-15, 1e-8, 1.0, 1e15])
def test_advantages_of_any_size_are_scaled_to_1(spread):
    samples = tf.constant([-spread, spread], tf.float32)
    normalized = normalize_advantages(samples, tf.constant([0.5, 0.5]))
    np.testing.assert_allclose(normalized, [-1.0, 1.0], rtol=1e-6)


@given(size=st.integers(1, 60), value=st.floats(-1e6, 1e6, width=32), double=st.booleans())
def test_equal_advantages_become_zeros(size, value, double):
    dtype = np.float64 if double else np.float32
    _, weights = padded_samples(size, size)
    normalized = normalize_advantages(tf.fill([size], tf.constant(value, dtype)), tf.constant(weights, dtype))
    np.testing.assert_array_equal(normalized, np.zeros(size))


@given(
    seed=st.integers(0, 10_000), size=st.integers(2, 60), limit=st.floats(0.1, 3.0), shift=st.sampled_from([0.0, -50.0])
)
def test_values_beyond_the_limit_become_the_limit(seed, size, limit, shift):
    samples, weights = padded_samples(seed, size)
    samples = samples**3 + shift
    samples[weights == 0] = 1e12
    cut = winsorize(tf.constant(samples), tf.constant(weights), limit).numpy()[weights > 0]
    valid_samples = samples[weights > 0]
    mean, reach = valid_samples.mean(), limit * valid_samples.std()
    expected = [min(max(sample, mean - reach), mean + reach) for sample in valid_samples]
    np.testing.assert_allclose(cut, expected, rtol=1e-9, atol=1e-9)


def test_equal_values_are_not_clipped():
    values = tf.fill([7], tf.constant(0.1, tf.float32))
    np.testing.assert_array_equal(winsorize(values, tf.fill([7], 1 / 7), 0.5), values)

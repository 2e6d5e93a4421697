"""Returns against loops over streams with every kind of ending."""

import numpy as np
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tf_trpo.estimation import discounted_return_so_far, gae, lambda_returns, rewards_to_go

STREAMS = {"seed": st.integers(0, 10_000), "length": st.integers(1, 30), "environments": st.integers(1, 3)}
FRACTIONS = st.sampled_from([0.0, 0.5, 0.99, 1.0])


def tensors(rows):
    return [tf.constant(array) for array in rows]


def looped_rewards_to_go(stream, gamma):
    returns = np.zeros_like(stream.rewards)
    for t, b in np.argwhere(stream.valid):
        rows = stream.episode_from(t, b)
        total = 0.0 if stream.terminated[rows[-1], b] else stream.values[rows[-1] + 1, b]
        for row in reversed(rows):
            total = stream.rewards[row, b] + gamma * total
        returns[t, b] = total
    return returns


def looped_lambda_return(stream, t, b, gamma, gae_lambda):
    """Equation 12.2 in its finite form 12.3: a mixture of n-step returns; the longest has the remaining weight."""
    rows = stream.episode_from(t, b)
    rewards_so_far, result = 0.0, 0.0
    for n, row in enumerate(rows, start=1):
        rewards_so_far += gamma ** (n - 1) * stream.rewards[row, b]
        successor = 0.0 if stream.terminated[row, b] else stream.values[row + 1, b]
        share = gae_lambda ** (n - 1) * (1.0 if row == rows[-1] else 1.0 - gae_lambda)
        result += share * (rewards_so_far + gamma**n * successor)
    return result


def looped_return_so_far(rewards, ended, carry, gamma):
    returns = np.zeros_like(rewards)
    carry = carry.copy()
    for t in range(len(rewards)):
        returns[t] = rewards[t] + carry
        carry = gamma * np.where(ended[t], 0.0, returns[t])
    return returns, carry


@given(**STREAMS, gamma=FRACTIONS)
def test_rewards_to_go_agree_with_a_loop(make_stream, seed, length, environments, gamma):
    stream = make_stream(seed, length, environments)
    returns = rewards_to_go(*tensors(stream), gamma=gamma).numpy()
    steps = stream.valid > 0
    assert returns.shape == stream.rewards.shape
    np.testing.assert_allclose(returns[steps], looped_rewards_to_go(stream, gamma)[steps], rtol=1e-10, atol=1e-11)


@given(seed=st.integers(0, 10_000), length=st.integers(1, 12), gamma=FRACTIONS, gae_lambda=FRACTIONS)
def test_lambda_return_is_the_mixture_of_n_step_returns(make_stream, seed, length, gamma, gae_lambda):
    stream = make_stream(seed, length, 2)
    advantages = gae(*tensors(stream), gamma=gamma, gae_lambda=gae_lambda)
    returns = lambda_returns(advantages, tf.constant(stream.values)).numpy()
    for t, b in np.argwhere(stream.valid):
        expected = looped_lambda_return(stream, t, b, gamma, gae_lambda)
        np.testing.assert_allclose(returns[t, b], expected, rtol=1e-10, atol=1e-11)


def return_so_far(stream, carry, gamma):
    rows = tensors([stream.rewards, stream.ended, stream.valid, carry])
    return [tensor.numpy() for tensor in discounted_return_so_far(*rows, gamma=gamma)]


@given(**STREAMS, gamma=FRACTIONS)
def test_return_so_far_agrees_with_a_loop_and_ignores_pauses(make_stream, seed, length, environments, gamma):
    stream, rng = make_stream(seed, length, environments), np.random.default_rng(seed)
    # If the first row is not a step, no episode has begun.
    carry = rng.normal(size=environments) * stream.valid[0]
    expected = looped_return_so_far(stream.rewards, stream.ended, carry, gamma)
    for found, array in zip(return_so_far(stream, carry, gamma), expected, strict=True):
        np.testing.assert_allclose(found, array, rtol=1e-10, atol=1e-12, strict=True)
    paused, pauses = stream.with_pauses(np.sort(rng.integers(0, length, 4)))
    returns, after = return_so_far(paused, carry, gamma)
    for found, array in zip((np.delete(returns, pauses, axis=0), after), expected, strict=True):
        np.testing.assert_allclose(found, array, rtol=1e-10, atol=1e-12, strict=True)


@given(seed=st.integers(0, 10_000), first=st.integers(1, 12), second=st.integers(1, 12))
def test_two_rollouts_with_a_carry_equal_one_rollout(make_stream, seed, first, second):
    stream = make_stream(seed, first + second, 3)
    whole, end = return_so_far(stream, np.zeros(3), 0.9)
    head, carry = return_so_far(type(stream)(*(rows[:first] for rows in stream)), np.zeros(3), 0.9)
    tail, tail_end = return_so_far(type(stream)(*(rows[first:] for rows in stream)), carry, 0.9)
    np.testing.assert_allclose(np.concatenate([head, tail]), whole, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(tail_end, end, rtol=1e-10, atol=1e-12)

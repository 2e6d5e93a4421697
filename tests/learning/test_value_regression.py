"""The regression of the value function, on problems whose answer is known."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.learning import UpdateSettings
from tf_trpo.learning.critic import Critic
from tf_trpo.learning.samples import ValueSamples
from tf_trpo.learning.value_regression import fit_critic
from tf_trpo.models import Encoder, RunningReturnScale, ValueFunction, mlp
from tf_trpo.numerics import random_orders


def linear_value_function(size):
    """V(s) = kernel . s + bias, from zero."""
    value_function = ValueFunction(Encoder((size,), 1, network=mlp((size,), ()), normalize_observations=False))
    value_function.encoder.output_layer.kernel.assign(np.zeros([size, 1]))
    return value_function


def critic_of(value_function, optimizer):
    optimizer.build(value_function.trainable_variables)
    return Critic(value_function, RunningReturnScale(), optimizer)


def samples_of(observations, targets, weights=None, statistics=()):
    weights = np.full(len(targets), 1 / len(targets)) if weights is None else weights
    given = [tf.constant(array, tf.float32) for array in (observations, np.zeros(len(targets)), targets, weights)]
    observations, values, targets, weights = given
    return ValueSamples(observations, (), values, targets, weights, list(statistics), tf.constant(True))


def fit(
    value_function,
    optimizer,
    *data,
    weights=None,
    statistics=(),
    epochs=1,
    minibatch_size=10**6,
    jit=False,
    decay=False,
):
    """Returns the loss, None if there is none; the value function is left fitted."""
    critic, samples = critic_of(value_function, optimizer), samples_of(*data, weights, statistics)
    orders = tf.constant(random_orders(epochs, samples.targets.shape[0], np.random.default_rng(0)))
    settings = UpdateSettings(value_minibatch_size=minibatch_size, value_learning_rate_decay=decay)

    def run(samples):
        return fit_critic(critic, samples, orders, settings).loss

    loss = (tf.function(run, autograph=False, jit_compile=True) if jit else run)(samples)
    return None if loss is None else loss.numpy()


def solution(value_function):
    layer = value_function.encoder.output_layer
    return np.append(layer.kernel.numpy()[:, 0], layer.bias.numpy())


def problem(samples=40, size=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(samples, size)), rng.normal(size=samples)


def with_constant(observations):
    return np.concatenate([observations, np.ones([len(observations), 1])], axis=1)


def test_weights_make_it_weighted_least_squares():
    observations, targets = problem()
    weights = np.random.default_rng(1).uniform(0.1, 1.0, size=40)
    value_function = linear_value_function(3)
    fit(value_function, keras.optimizers.SGD(0.4), observations, targets, weights=weights / weights.sum(), epochs=40)
    roots = np.sqrt(weights)
    expected = np.linalg.lstsq(roots[:, None] * with_constant(observations), roots * targets, rcond=None)[0]
    np.testing.assert_allclose(solution(value_function), expected, atol=1e-4)


def test_one_epoch_of_one_minibatch_is_one_gradient_step_of_the_mean_squared_error():
    observations, targets = problem()
    value_function = linear_value_function(3)
    loss = fit(value_function, keras.optimizers.SGD(0.1), observations, targets)
    gradient = 2 * with_constant(observations).T @ (0 - targets) / len(targets)
    np.testing.assert_allclose(solution(value_function), -0.1 * gradient, rtol=1e-5)
    assert loss == pytest.approx(np.mean(targets**2), rel=1e-6)


@pytest.mark.parametrize(("samples", "minibatch_size"), [(6, 2), (8, 3), (5, 4), (5, 1)])
def test_every_sample_counts_exactly_once_an_epoch(samples, minibatch_size):
    """With one coordinate for each sample, each weight moves for its own sample only."""
    targets = np.arange(1.0, samples + 1)
    rate, epochs = 1e-6, 3
    moves = []
    for epoch in range(1, epochs + 1):
        value_function = linear_value_function(samples)
        optimizer = keras.optimizers.SGD(rate)
        fit(value_function, optimizer, np.eye(samples), targets, epochs=epoch, minibatch_size=minibatch_size)
        assert optimizer.iterations.numpy() == epoch * -(-samples // minibatch_size)
        moves.append(solution(value_function)[:samples] / (2 * rate * targets))
    # A sample moves its weight by one over the size of its minibatch; the last one may be smaller.
    in_last = samples % minibatch_size or minibatch_size
    expected = np.sort([1 / minibatch_size] * (samples - in_last) + [1 / in_last] * in_last)
    for shares in np.diff(moves, axis=0, prepend=np.zeros([1, samples])):
        np.testing.assert_allclose(np.sort(shares), expected, rtol=1e-3)


def test_the_samples_are_taken_in_the_given_orders():
    """Steps of one sample each, by exact arithmetic: V moves half of the way to the sample's target."""
    value_function = linear_value_function(1)
    optimizer = keras.optimizers.SGD(0.25)
    samples, orders = samples_of(np.zeros([3, 1]), [1.0, 2.0, 4.0]), tf.constant([[2, 0, 1], [1, 2, 0]])
    fit_critic(critic_of(value_function, optimizer), samples, orders, UpdateSettings(value_minibatch_size=1))
    value = 0.0
    for target in [4.0, 1.0, 2.0, 2.0, 4.0, 1.0]:
        value += (target - value) / 2
    assert solution(value_function)[-1] == value


def test_the_loss_is_the_mean_over_all_minibatches():
    targets = np.array([1.0, 2.0, 3.0, 4.0])
    value_function = linear_value_function(1)
    loss = fit(value_function, keras.optimizers.SGD(0.0), np.zeros([4, 1]), targets, epochs=3, minibatch_size=2)
    assert loss == pytest.approx(np.mean(targets**2), rel=1e-6)


def test_samples_of_weight_zero_are_ignored():
    observations, targets = problem()
    weights, fitted = (np.arange(40) % 3 > 0) / 26, []
    for garbage in (0.0, 1e6):
        value_function, given = linear_value_function(3), np.where(weights > 0, targets, garbage)
        sizes = {"weights": weights, "epochs": 5, "minibatch_size": 7}
        loss = fit(value_function, keras.optimizers.SGD(0.05), observations, given, **sizes)
        fitted.append((loss, *solution(value_function)))
    assert fitted[0] == fitted[1]
    assert fitted[0][0] < 10


def test_a_minibatch_without_weight_does_no_harm():
    observations, targets = problem(samples=6)
    value_function = linear_value_function(3)
    weights = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    loss = fit(value_function, keras.optimizers.SGD(0.1), observations, targets, weights=weights, minibatch_size=2)
    gradient = 2 * with_constant(observations)[5] * (0 - targets[5])
    np.testing.assert_allclose(solution(value_function), -0.1 * gradient, rtol=1e-5)
    assert np.isfinite(loss)


def test_no_epochs_change_nothing():
    observations, targets = problem()
    value_function = linear_value_function(3)
    assert fit(value_function, keras.optimizers.SGD(0.1), observations, targets, epochs=0) is None
    np.testing.assert_array_equal(solution(value_function), np.zeros(4))


def test_the_fit_takes_in_the_new_statistics_and_leaves_them_alone():
    observations, targets = problem()
    value_function = ValueFunction(Encoder((3,), 1, network=mlp((3,), (4,), seed=0), output_gain=1.0, seed=0))
    encoder, weights = value_function.encoder, tf.fill([40], 1 / 40)
    (kept,) = encoder.normalization
    for batch in (observations, 3 * observations + 1):
        moments = encoder.moments(tf.constant(batch, tf.float32), weights, tf.constant(40.0))
        statistics = encoder.begin_normalization(moments)
        before = kept.mean.numpy()
        fit(
            value_function, keras.optimizers.SGD(0.1), batch, targets, statistics=statistics, epochs=2, minibatch_size=8
        )
        np.testing.assert_array_equal(kept.mean, statistics[0].moments.mean)
        np.testing.assert_array_equal(kept.scale, statistics[0].scale)
    assert not np.allclose(before, kept.mean)


@pytest.mark.parametrize("jit", [False, True])
def test_by_a_falling_rate_the_weights_go_by_the_sum_of_the_rates_in_each_fit(jit):
    """Targets so far away that the gradient stays -2 target: a fit goes 1 + 3/4 + 1/2 + 1/4 times rate times that."""
    value_function, optimizer = linear_value_function(1), keras.optimizers.SGD(1e-6)
    bias, sizes = [0.0], {"epochs": 2, "minibatch_size": 4}
    for target in (1000.0, np.nan, 1000.0):
        fit(value_function, optimizer, np.zeros([8, 1]), np.full(8, target), **sizes, jit=jit, decay=True)
        bias.append(solution(value_function)[-1])
        assert optimizer.learning_rate.numpy() == np.float32(1e-6)
    np.testing.assert_allclose(np.diff(bias), [2000 * 2.5e-6, 0.0, 2000 * 2.5e-6], rtol=1e-4)

"""The clipped surrogate against a loop that takes every minibatch, and every step of Adam, by its definition."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.learning import UpdateSettings
from tf_trpo.learning.numbers import Numbers
from tf_trpo.optimizers import ClippedSurrogate, EntropyBonus

SETTINGS = {"clip_range": 0.1, "ppo_epochs": 3, "ppo_minibatch_size": 20, "ppo_learning_rate": 0.02}
PLAIN = ClippedSurrogate(**SETTINGS, max_gradient_norm=1e9)
ALL = ClippedSurrogate(
    **SETTINGS, ppo_final_learning_rate=0.005, max_gradient_norm=0.1, entropy=EntropyBonus(entropy_coefficient=0.3)
)


def gradient_of(stepper, theta, batch, old, rows):
    """Equation 7 for a categorical policy, with the entropy, of the samples in some rows."""
    optimizer = stepper.optimizer
    weights = tf.cast(tf.gather(batch.weights, rows), tf.float64)
    actions, advantages = tf.gather(batch.actions, rows), tf.cast(tf.gather(batch.advantages, rows), tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(theta)
        logits = stepper.policy.parameters_at(theta, tf.gather(batch.observations, rows))
        new = tf.nn.log_softmax(tf.cast(logits, tf.float64))
        ratio = tf.exp(tf.gather(new - tf.gather(old, rows), actions, batch_dims=1))
        low, high = 1 - optimizer.clip_range, 1 + optimizer.clip_range
        clipped = tf.minimum(tf.maximum(ratio, low), high)
        terms = tf.minimum(ratio * advantages, clipped * advantages)
        terms -= optimizer.entropy.entropy_coefficient * tf.reduce_sum(tf.exp(new) * new, axis=1)
        value = tf.reduce_sum(weights * terms) / tf.reduce_sum(weights)
    return tape.gradient(value, theta).numpy().astype(np.float64)


def thetas_after_each_pass(stepper, batch, rate):
    """Passes over 48 samples in minibatches of 20, the orders being the same in every step."""
    optimizer, theta = stepper.optimizer, stepper.theta().astype(np.float64)
    old = tf.nn.log_softmax(tf.cast(stepper.policy.parameters_at(stepper.theta(), batch.observations), tf.float64))
    orders = np.random.default_rng(0).permuted(
        np.tile(np.arange(48, dtype=np.int32), (optimizer.ppo_epochs, 1)), axis=1
    )
    first, second, count = np.zeros_like(theta), np.zeros_like(theta), 0
    for order in orders:
        for start in range(0, 48, 20):
            rows = order[start : start + 20]
            gradient = gradient_of(stepper, tf.constant(theta, tf.float32), batch, old, rows)
            gradient *= min(1.0, optimizer.max_gradient_norm / np.linalg.norm(gradient))
            count += 1
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            unbiased = np.sqrt(1 - 0.999**count) / (1 - 0.9**count)
            theta = theta + rate * unbiased * first / (np.sqrt(second) + 1e-5)
        yield theta


@pytest.mark.parametrize(("optimizer", "rate"), [(PLAIN, 0.02), (ALL, 0.0125)], ids=["plain", "all settings"])
def test_the_step_is_that_of_a_loop(optimizer, rate, make_stepper):
    stepper = make_stepper(optimizer, "categorical")
    stepper.restart(2)
    batch = stepper.batch(2, padding=8)
    *_, expected = thetas_after_each_pass(stepper, batch, rate)
    step = stepper.step(batch, progress=0.5)
    assert np.linalg.norm(step.change) > 0.3
    np.testing.assert_allclose(step.theta, expected, rtol=1e-3, atol=2e-4)
    assert stepper.state.optimizer.iterations == 9


class Targeted:
    """An optimizer whose target KL can change after it is traced."""

    def __init__(self, optimizer):
        self._optimizer, self._numbers, self.make_state = (
            optimizer,
            Numbers(UpdateSettings(), optimizer),
            optimizer.make_state,
        )

    def set_target(self, target):
        other = dataclasses.replace(self._optimizer, ppo_target_kl=target)
        self._numbers.variable.assign(Numbers(UpdateSettings(), other).variable)

    def step(self, *arguments, **settings):
        return self._numbers.read()[1].step(*arguments, **settings)


def test_no_pass_begins_beyond_the_target_kl(make_stepper):
    """A pass is whole; the KL over the whole batch, without padding, decides."""
    reference = make_stepper(PLAIN, "categorical")
    reference.restart(2)
    batch = reference.batch(2, padding=8)
    kls, old = [], reference.parameters(batch)
    for theta in thetas_after_each_pass(reference, batch, 0.02):
        reference.assign(theta)
        kls.append(reference.figures(old, batch)["kl"])
        reference.restart(2)
    assert kls[0] < kls[1] < kls[2]
    targeted = Targeted(ClippedSurrogate(**SETTINGS, max_gradient_norm=1e9, ppo_target_kl=0.5))
    for passes, target in ((1, 0.9 * kls[0]), (2, 0.5 * (kls[0] + kls[1])), (3, 1.1 * kls[1])):
        stepper = make_stepper(targeted, "categorical")
        targeted.set_target(target)
        stepper.restart(2)
        step = stepper.step(batch)
        assert stepper.state.optimizer.iterations == 3 * passes
        assert step.outcome.kl == pytest.approx(kls[passes - 1], rel=0.02)


def test_a_ratio_beyond_the_range_that_gains_moves_nothing(make_stepper):
    """With one sample and a positive advantage, the climb ends soon after its ratio is 1 + clip_range."""
    stepper = make_stepper(
        ClippedSurrogate(clip_range=0.3, ppo_epochs=200, ppo_minibatch_size=48, ppo_learning_rate=0.001), "categorical"
    )
    stepper.restart(0)
    batch = stepper.batch(0, padding=47)
    batch = batch._replace(advantages=tf.ones(48))
    step = stepper.step(batch)
    # Adam's momentum carries it a little farther.
    assert 1.3 < step.outcome.surrogate < 1.5

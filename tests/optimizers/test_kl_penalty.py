"""The KL-penalised step against dense Newton steps, NumPy loops, and the theory."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.optimizers import Backtracking, FirstOrder, KLPenalty, Objective, State

# Its target is so large that a step may be shortened although its KL is small enough.
ADAPTIVE = KLPenalty(target_kl=10.0, search=Backtracking(0.5, max_backtracks=12))


def penalised_objective(stepper, old, batch, coefficient):
    figures = stepper.figures(old, batch)
    return figures["improvement"] - coefficient * figures["kl"]


def test_a_step_that_the_quadratic_model_misjudges_is_shortened(make_stepper):
    """Far from the old weights, the first candidate that improves L - C KL is taken, as a loop finds it."""
    stepper, backtracks = make_stepper(ADAPTIVE, "categorical"), []
    for seed, coefficient in enumerate([1e-3, 1e-3, 1e-3, 0.03, 1.0]):
        stepper.state.adapted.assign(coefficient)
        stepper.restart(seed)
        batch = stepper.batch(seed)
        old = stepper.parameters(batch)
        step = stepper.step(batch)
        assert step.outcome.accepted
        assert step.improvement - coefficient * step.kl > 0
        full = step.change * 2.0**step.outcome.backtracks
        for shorter in range(step.outcome.backtracks):
            stepper.assign(step.old_theta + full / 2.0**shorter)
            assert not penalised_objective(stepper, old, batch, coefficient) > 0
        backtracks.append(step.outcome.backtracks)
    assert max(backtracks) > 0 == min(backtracks)


def test_first_order_steps_come_to_where_the_penalised_objective_is_flat(make_stepper):
    """By closed forms: no slope is left, and the gain is at least Newton's in the steep directions."""
    coefficient, radius = 50.0, 0.003
    epochs = FirstOrder(300, penalty_minibatch_size=48, penalty_learning_rate=0.003)
    stepper = make_stepper(KLPenalty("fixed", coefficient, penalty_solver="first-order", first_order=epochs))
    batch, fisher, gradient = stepper.derivatives(1)
    old = stepper.parameters(batch)
    foreseen = gradient @ np.linalg.pinv(fisher, rcond=0.05) @ gradient / (2 * coefficient)
    step = stepper.step(batch)
    assert penalised_objective(stepper, old, batch, coefficient) > foreseen > 0
    rng = np.random.default_rng(0)
    for direction in [gradient, *rng.normal(size=(10, len(gradient)))]:
        unit = direction / np.linalg.norm(direction)
        values = []
        for length in (-radius, radius):
            stepper.assign(step.theta + length * unit)
            values.append(penalised_objective(stepper, old, batch, coefficient))
        assert abs(values[1] - values[0]) / (2 * radius) < 0.05 * np.linalg.norm(gradient)


def test_sgd_minibatches_are_those_of_a_loop(make_stepper):
    """Three epochs of minibatches of 20 out of 48 samples, 8 of them padding, repeated one by one."""
    rate, coefficient = 0.1, 3.0
    optimizer = KLPenalty("fixed", coefficient, penalty_solver="first-order", first_order=FirstOrder(3, 20))

    def make_state(policy):
        """The state may hold any Keras optimizer, here one that a loop can repeat to rounding."""
        sgd = keras.optimizers.SGD(rate)
        sgd.build(policy.trainable_variables)
        return State(optimizer=sgd)

    stepper = make_stepper(optimizer, "categorical", make_state=make_state)
    stepper.restart(2)
    batch = stepper.batch(2, padding=8)
    theta = tf.constant(stepper.theta())
    old = tf.nn.log_softmax(tf.cast(stepper.policy.parameters_at(theta, batch.observations), tf.float64))
    orders = np.random.default_rng(0).permuted(np.tile(np.arange(48, dtype=np.int32), (3, 1)), axis=1)
    for order in orders:
        for start in range(0, 48, 20):
            rows = order[start : start + 20]
            weights = tf.cast(tf.gather(batch.weights, rows), tf.float64)
            with tf.GradientTape() as tape:
                tape.watch(theta)
                logits = stepper.policy.parameters_at(theta, tf.gather(batch.observations, rows))
                new, before = tf.nn.log_softmax(tf.cast(logits, tf.float64)), tf.gather(old, rows)
                ratio = tf.exp(tf.gather(new - before, tf.gather(batch.actions, rows), batch_dims=1))
                kl = tf.reduce_sum(tf.exp(before) * (before - new), axis=1)
                terms = ratio * tf.cast(tf.gather(batch.advantages, rows), tf.float64) - coefficient * kl
                objective = tf.reduce_sum(weights * terms) / tf.reduce_sum(weights)
            theta += rate * tape.gradient(objective, theta)
    step = stepper.step(batch)
    assert np.linalg.norm(theta - step.old_theta) > 0.1
    np.testing.assert_allclose(step.theta, theta, rtol=1e-3, atol=1e-4)


def test_gradients_of_minibatches_have_that_of_the_batch_as_their_mean(make_stepper):
    """With unequal weights too, as those of branches that try all actions."""
    stepper = make_stepper(KLPenalty("fixed", 1.0, penalty_solver="first-order"), "categorical")
    weights = np.random.default_rng(0).uniform(0.01, 1.0, 48).astype(np.float32)
    batch = stepper.batch(2)._replace(weights=tf.constant(weights / weights.sum()))
    objective = Objective(stepper.policy, batch, tf.constant(stepper.theta()))
    # The last row of each minibatch only fills it up.
    parts = [
        objective.minibatch_gradient(
            objective.improvement, objective.theta, tf.constant([*rows, 0]), np.arange(17) < 16
        )
        for rows in np.split(np.random.default_rng(1).permutation(48).astype(np.int32), 3)
    ]
    np.testing.assert_allclose(np.mean(parts, axis=0), objective.gradient(), rtol=1e-4, atol=1e-6)


def theoretical(batch, gamma):
    """C / scale * (1 - gamma) of the raw advantages: what counts against the mean normalised surrogate."""
    raw = (float(batch.advantage_mean) + float(batch.advantage_scale) * batch.advantages.numpy())[batch.weights > 0]
    return 4 * np.abs(raw).max() * gamma / (1 - gamma) ** 2 * (1 - gamma) / float(batch.advantage_scale)


@pytest.mark.parametrize("gamma", [0.5, 0.99])
def test_the_penalty_of_the_theory_is_in_the_units_of_the_batch(gamma, make_stepper):
    stepper = make_stepper(KLPenalty("theory"), gamma=gamma)
    stepper.restart(0)
    plain = stepper.batch(0, padding=5)
    # Padding may hold anything.
    advantages = tf.where(plain.weights > 0, plain.advantages, 1e6)
    for units in [(0.0, 1.0), (3.0, 20.0), (-50.0, 0.2)]:
        batch = plain._replace(**dict(zip(("advantage_mean", "advantage_scale"), map(tf.constant, units), strict=True)))
        step = stepper.step(batch._replace(advantages=advantages))
        assert step.outcome.penalty_coefficient == pytest.approx(theoretical(batch, gamma), rel=1e-5)
        assert step.outcome.accepted
        assert 0 < step.outcome.kl < 1e-2 * (1 - gamma)
        assert step.improvement > step.outcome.penalty_coefficient * step.kl


@pytest.mark.parametrize(
    ("optimizer", "kind", "first"),
    [
        (ADAPTIVE, "categorical", 1e-3),
        (ADAPTIVE, "categorical", 1.0),
        (KLPenalty(target_kl=0.02, search=Backtracking(max_backtracks=0)), "fixed-std", 1e-3),
    ],
)
def test_the_adaptive_penalty_doubles_above_its_target_and_halves_below(optimizer, kind, first, make_stepper):
    stepper, coefficient = make_stepper(optimizer, kind), first
    stepper.state.adapted.assign(first)
    for seed in range(8):
        outcome = stepper.run(seed).outcome
        assert outcome.penalty_coefficient == coefficient
        if outcome.backtracks > 0 or not outcome.accepted or outcome.kl > 1.5 * optimizer.target_kl:
            coefficient *= 2
        elif outcome.kl < optimizer.target_kl / 1.5:
            coefficient /= 2
        assert float(stepper.state.adapted) == coefficient
    assert coefficient != first


def test_gamma_must_discount_if_it_is_used(make_stepper):
    for gamma in (0.0, 1.0, float("nan")):
        KLPenalty("fixed").check_gamma(gamma)
        with pytest.raises(ValueError, match=r"^gamma must be in \(0, 1\)"):
            KLPenalty("theory").check_gamma(gamma)
    with pytest.raises(ValueError, match=r"^gamma must be in \(0, 1\)"):
        make_stepper(KLPenalty("theory"), gamma=None).run(0)

"""The direction for a limit on the largest KL: dense matrices, and the certificate of its optimality."""

import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.optimizers import TrustRegion
from tf_trpo.optimizers.objective import Objective

DAMPING = 0.02
SETTINGS = {"constraint": "max", "cg_damping": DAMPING, "cg_iterations": 60, "max_backtracks": 40}


class Dense:
    """A batch of a stepper, with the Fisher matrix of each state."""

    def __init__(self, stepper, seed, padding=5):
        stepper.restart(seed)
        self.stepper = stepper
        self.batch = stepper.batch(seed, padding=padding)
        self.gradient = stepper.gradient(self.batch)
        self.weights = self.batch.weights.numpy().astype(np.float64)
        alone = np.eye(len(self.weights), dtype=np.float32)
        self.states = np.stack([stepper.fisher(self.batch._replace(weights=tf.constant(row))) for row in alone])

    def kl(self, direction):
        """Quadratic KL of each state."""
        return 0.5 * np.einsum("i,nij,j->n", direction, self.states, direction)

    def direction(self, weights):
        return np.linalg.solve(
            np.einsum("n,nij->ij", weights, self.states) + DAMPING * np.eye(len(self.gradient)), self.gradient
        )

    def reweighted(self, times):
        weights = self.weights
        for _ in range(times):
            kl = self.kl(self.direction(weights))
            weights = weights * (0.5 + kl / (self.weights @ kl))
            weights = weights / weights.sum()
        return weights

    def improvement(self, direction, limit=1.0):
        """g'x of the direction, as long as the largest KL allows."""
        return self.gradient @ direction * np.sqrt(limit / self.kl(direction)[self.weights > 0].max())

    def taken(self):
        """The direction of the step that the optimizer takes."""
        step = self.stepper.step(self.batch)
        assert step.outcome.accepted
        return step.theta.astype(np.float64) - step.old_theta


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


@pytest.mark.parametrize("times", [1, 2])
def test_the_direction_is_that_of_the_fisher_matrix_under_the_weights_of_the_definition(kind, make_stepper, times):
    dense = Dense(make_stepper(kind, reweightings=times, **SETTINGS), seed=3)
    expected = dense.direction(dense.reweighted(times))
    assert cosine(dense.taken(), expected) == pytest.approx(1, abs=1e-4)
    assert cosine(dense.direction(dense.weights), expected) < 0.995


def test_the_quadratic_kl_of_a_state_is_that_of_its_fisher_matrix(stepper):
    dense = Dense(stepper, seed=4)
    step = np.random.default_rng(0).normal(size=len(dense.gradient))
    for chunk_size in (None, 7):
        objective = Objective(stepper.policy, dense.batch, stepper.policy.flat_weights, chunk_size)
        kl = objective.quadratic_kl(tf.constant(step, tf.float32))
        np.testing.assert_allclose(kl, dense.kl(step), rtol=1e-3, atol=1e-4)


def test_a_step_within_the_same_largest_kl_promises_more(kind, make_stepper):
    promised = []
    for seed in range(8):
        dense = Dense(make_stepper(kind, reweightings=1, **SETTINGS), seed)
        promised.append(dense.improvement(dense.taken()) / dense.improvement(dense.direction(dense.weights)))
    assert np.mean(promised) > 1.05
    assert min(promised) > 0.97


def test_many_of_them_come_near_to_the_best_step_that_there_is(kind, make_stepper):
    """By weak duality: g'x <= sqrt(2 limit g' F_w^-1 g) for every x within the limit, whatever the weights w.

    The damping is part of each state's metric on both sides, since conjugate gradient needs it.
    """
    dense = Dense(make_stepper(kind, **SETTINGS), seed=5)

    def gap(times):
        weights = dense.reweighted(times)
        direction = dense.direction(weights)
        damped = (dense.kl(direction) + 0.5 * DAMPING * direction @ direction)[dense.weights > 0].max()
        return dense.gradient @ direction / np.sqrt(damped) / np.sqrt(2 * dense.gradient @ direction)

    gaps = [gap(times) for times in (0, 1, 4, 200)]
    assert gaps == sorted(gaps)
    assert gaps[0] < 0.8
    assert 0.93 < gaps[-1] < 1 + 1e-9


def test_garbage_in_rows_of_weight_zero_changes_not_one_bit(kind, make_stepper):
    dense = Dense(make_stepper(kind, reweightings=2, **SETTINGS), seed=6)
    before = dense.taken()
    invalid = dense.weights == 0
    garbage = dense.batch.observations.numpy()
    garbage[invalid] = 1e6
    dense.stepper.restart(6)
    dense.batch = dense.batch._replace(observations=tf.constant(garbage))
    np.testing.assert_array_equal(dense.taken(), before)


def test_chunks_and_xla_give_the_same_direction(kind, make_stepper):
    directions = [
        Dense(make_stepper(kind, jit, chunk, reweightings=1, **SETTINGS), seed=7).taken()
        for jit, chunk in ((False, None), (False, 11), (True, None))
    ]
    for direction in directions[1:]:
        np.testing.assert_allclose(direction, directions[0], rtol=1e-2, atol=1e-5)


def test_without_a_gradient_nothing_moves(kind, make_stepper):
    stepper = make_stepper(kind, reweightings=1, **SETTINGS)
    stepper.restart(0)
    batch = stepper.batch(0)
    step = stepper.step(batch._replace(advantages=tf.zeros_like(batch.advantages)))
    np.testing.assert_array_equal(step.theta, step.old_theta)
    assert not step.outcome.accepted


def test_they_are_of_the_largest_kl_only():
    with pytest.raises(ValueError, match=r"^reweightings must be 0 unless constraint is max, got 1"):
        TrustRegion(reweightings=1)

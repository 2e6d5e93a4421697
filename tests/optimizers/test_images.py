"""Observations that are images, or nests with images, stay as they are until the network sees them."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.distributions import Categorical
from tf_trpo.estimation import Batch
from tf_trpo.models import Encoder, Policy
from tf_trpo.optimizers import NaturalDirection, Objective, TrustRegion

N = 40
IMAGES = tf.constant(np.random.default_rng(0).integers(0, 256, (N, 6, 6, 2)), tf.uint8)
DIRECTION = NaturalDirection(cg_iterations=4)


def make_policy():
    network = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(3, 3, kernel_initializer=keras.initializers.Orthogonal(seed=0)),
            keras.layers.Flatten(),
        ]
    )
    encoder = Encoder((6, 6, 2), 3, network=network, normalize_observations=False, output_gain=1.0, seed=0)
    return Policy(encoder, Categorical(3))


def batch_of(observations):
    rng = np.random.default_rng(1)
    count = len(tf.nest.flatten(observations)[0])
    advantages = tf.constant(rng.normal(size=count), tf.float32)
    return Batch(
        observations, tf.constant(rng.integers(0, 3, count), tf.int32), advantages, tf.fill([count], 1 / count)
    )


class Nested:
    """A policy of {"images": ..., "more": ...}, whose second part moves its outputs."""

    def __init__(self):
        self.policy = make_policy()
        self.action_distribution = self.policy.action_distribution

    @property
    def flat_weights(self):
        return self.policy.flat_weights

    def parameters_at(self, theta, observations):
        assert observations["images"].dtype == tf.uint8
        return self.policy.parameters_at(theta, observations["images"]) + observations["more"][0]


def solution_on(policy, observations, chunk_size=None):
    objective = Objective(policy, batch_of(observations), policy.flat_weights, chunk_size)
    return DIRECTION.solve(objective, objective.gradient()).solution.numpy()


def test_curvature_is_taken_on_a_tenth_of_images_and_on_all_of_anything_else(monkeypatch):
    policy, many, asked = make_policy(), tf.tile(IMAGES, [20, 1, 1, 1]), []
    own = dataclasses.replace(DIRECTION, curvature_fraction=0.7, fisher_vector_product="double-backprop")
    cases = [
        (DIRECTION, many, 0.1),
        # At least 64 of them.
        (DIRECTION, many[:128], 0.5),
        (DIRECTION, IMAGES, 1.0),
        (DIRECTION, tf.cast(many, tf.float32), 1.0),
        (own, many, 0.7),
    ]
    for direction, observations, fraction in cases:
        objective = Objective(policy, batch_of(observations), policy.flat_weights)
        monkeypatch.setattr(
            objective, "fisher_vector_product", lambda **settings: asked.append(settings) or tf.identity
        )
        direction.solve(objective, objective.theta)
        assert asked.pop() == {"fraction": fraction, "kind": direction.fisher_vector_product}


@pytest.mark.parametrize("chunk_size", [None, 16])
def test_nests_of_observations_give_what_their_parts_give(chunk_size):
    nested, zeros = Nested(), tf.zeros([N, 3])
    found = solution_on(nested, {"images": IMAGES, "more": (zeros,)}, chunk_size)
    np.testing.assert_allclose(found, solution_on(nested.policy, IMAGES), rtol=1e-3, atol=1e-5)
    assert Objective(nested, batch_of({"images": IMAGES, "more": (zeros,)}), nested.flat_weights).sees_images


def test_a_step_on_images_keeps_its_limit():
    policy, optimizer = make_policy(), TrustRegion(0.01, direction=DIRECTION)
    outcome = optimizer.step(policy, batch_of(IMAGES), optimizer.make_state(policy), progress=0.0, gamma=0.9)
    assert outcome.accepted
    assert 0.001 < outcome.kl <= 0.01

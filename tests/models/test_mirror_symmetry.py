"""Policies and value functions that respect a reflection of their environment."""

import json

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_trpo.distributions import Gaussian
from tf_trpo.estimation import Moments
from tf_trpo.models import (
    Encoder,
    MirroredEncoder,
    MirrorSymmetry,
    PolicySettings,
    ValueSettings,
    make_policy,
    make_value_function,
)
from tf_trpo.models.mirror_symmetry import symmetric
from tf_trpo.numerics import Reflection
from tf_trpo.rollouts.actor import LiteActor

SEEN = "height -lean right_knee left_knee -right_tilt -left_tilt"
WALKER = MirrorSymmetry.from_names(SEEN, "right_torque left_torque -twist")
TWO_WAYS = MirrorSymmetry.from_names(SEEN, "left_push none right_push")


def named(names):
    """Reflections of the given components in random order."""
    return st.permutations(names.split()).map(lambda order: Reflection.from_names(" ".join(order)))


def image(samples, reflection=WALKER.observations):
    """The image of vectors under a reflection, in NumPy."""
    return samples[:, list(reflection.sources)] * np.float32(reflection.signs)


def moments(samples):
    return Moments(*(tf.constant(x, samples.dtype) for x in (samples.mean(axis=0), samples.var(axis=0), len(samples))))


def trained(model, seed=0):
    """Set random weights and statistics, as after training."""
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape) * 0.5)
    take_in(model, rng.normal(rng.normal(size=6), 1.5, size=(20, 6)), 20)
    return model


def take_in(model, samples, count=None):
    """Add samples to the statistics as an update does: the first ones before it, all others at its end."""
    weights = tf.fill([len(samples)], 1.0 / len(samples))
    moments = model.encoder.moments(tf.constant(samples), weights, tf.constant(count or len(samples)))
    assert model.encoder.update_normalization(model.encoder.begin_normalization(moments))


def observations(mirror, rows=20, seed=1):
    return np.random.default_rng(seed).normal(size=(rows, len(mirror.observations.signs))).astype(np.float32)


def seen(*shape):
    return gym.spaces.Box(-np.inf, np.inf, shape, np.float32)


def gaussian(mirror, *, network=None, low=None, high=None, **settings):
    actions = len(mirror.actions.signs)
    low, high = (np.float32([sign] * actions if bounds is None else bounds) for sign, bounds in ((-1, low), (1, high)))
    done, observed = gym.spaces.Box(low, high), seen(len(mirror.observations.signs))
    return make_policy(PolicySettings(**settings), observed, done, network=network, mirror=mirror, seed=0)


def categorical(mirror, shape=(6,), actions=3):
    return make_policy(PolicySettings(), seen(*shape), gym.spaces.Discrete(actions), mirror=mirror, seed=0)


def values(mirror, shape=(6,)):
    return make_value_function(PolicySettings(), ValueSettings(), seen(*shape), mirror=mirror, seed=0)


@given(named(SEEN), st.integers(0, 2**31 - 1))
def test_moments_of_samples_and_images_are_those_of_both_together(reflection, seed):
    samples = np.random.default_rng(seed).normal(3.0, 1.0, size=(30, 6))
    both = np.concatenate([samples, image(samples, reflection)])
    together = symmetric(moments(samples), reflection)
    np.testing.assert_allclose(together.mean, both.mean(axis=0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(together.variance, both.var(axis=0), rtol=1e-9, atol=1e-9)
    assert together.count == 30


@settings(max_examples=6)
@given(named(SEEN), named("left_torque right_torque -twist lift"), st.booleans(), st.integers(0, 2**31 - 1))
def test_a_gaussian_policy_takes_mirrored_actions_in_mirrored_observations(
    here_and_there, done, state_dependent_std, seed
):
    mirror = MirrorSymmetry(here_and_there, done)
    policy = trained(gaussian(mirror, state_dependent_std=state_dependent_std), seed)
    here = observations(mirror)
    parameters = policy.distribution_parameters(tf.constant(here)).numpy()
    images = policy.distribution_parameters(tf.constant(image(here, here_and_there))).numpy()
    mean, log_std = np.split(parameters, 2, axis=1)
    mirrored = np.concatenate([image(mean, done), log_std[:, list(done.sources)]], axis=1)
    np.testing.assert_allclose(images, mirrored, rtol=1e-5, atol=1e-5)
    assert np.ptp(mean, axis=0).max() > 0.01


def test_a_categorical_policy_swaps_its_actions_and_a_value_function_has_one_value():
    here = observations(TWO_WAYS)
    for model, swap in ((categorical(TWO_WAYS), [2, 1, 0]), (values(TWO_WAYS), [0])):
        trained(model)
        own, images = (model.encoder(tf.constant(rows)).numpy() for rows in (here, image(here)))
        np.testing.assert_allclose(images, own[:, swap], rtol=1e-5, atol=1e-5)
        assert np.ptp(own[:, 0]) > 0.1


def test_outputs_are_the_mean_of_the_network_and_its_mirror_image():
    policy = trained(gaussian(WALKER))
    plain = policy.encoder.encoder
    here = observations(WALKER)
    own, other = (plain(tf.constant(x)).numpy() for x in (here, image(here)))
    naive = 0.5 * (own + image(other, WALKER.actions))
    np.testing.assert_allclose(policy.encoder(tf.constant(here)), naive, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("model", [gaussian(WALKER), values(WALKER)])
def test_samples_of_one_side_normalise_both_sides_equally(model):
    # All samples are on one side; with their own statistics, the images would be beyond the clipping limit.
    lopsided = np.random.default_rng(5).normal(2.0, 0.03, size=(50, 6)).astype(np.float32)
    take_in(model, lopsided)
    normalized, images = (model.encoder.normalization[0](tf.constant(x)).numpy() for x in (lopsided, image(lopsided)))
    np.testing.assert_allclose(images, image(normalized), rtol=1e-5, atol=1e-5)
    assert np.abs(images).max() < 9


def test_new_statistics_do_not_change_a_symmetric_policy():
    policy = trained(gaussian(WALKER))
    here = np.random.default_rng(4).normal(2.0, 0.03, size=(20, 6)).astype(np.float32)
    take_in(policy, here, 1000)
    before, mean = (
        policy.distribution_parameters(tf.constant(here)).numpy(),
        policy.encoder.normalization[0].mean.numpy(),
    )
    take_in(policy, here + np.float32(0.5), 1000)
    assert np.abs(policy.encoder.normalization[0].mean.numpy() - mean).max() > 0.1
    np.testing.assert_allclose(policy.distribution_parameters(tf.constant(here)), before, rtol=1e-4, atol=1e-5)


def test_the_litert_actor_takes_the_same_actions():
    policy = trained(gaussian(WALKER))
    here = observations(WALKER, rows=4)
    noise = policy.action_distribution.noise([4], tf.constant([0, 1]))
    actions = LiteActor(policy, 4)(here, noise.numpy())
    np.testing.assert_allclose(actions.sampled, policy.act(tf.constant(here), noise), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", [categorical(TWO_WAYS), values(TWO_WAYS)])
def test_a_loaded_model_has_its_mirror(model):
    again = keras.saving.deserialize_keras_object(json.loads(json.dumps(keras.saving.serialize_keras_object(model))))
    assert again.encoder.observations == TWO_WAYS.observations
    assert again.encoder.outputs == model.encoder.outputs
    again.set_weights(trained(model).get_weights())
    here = tf.constant(observations(TWO_WAYS))
    np.testing.assert_array_equal(again.encoder(here), model.encoder(here))


def test_observations_and_actions_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"observations of shape \(6,\), not \(5,\)"):
        values(WALKER, (5,))
    with pytest.raises(ValueError, match=r"observations of shape \(6,\), not \(2, 3\)"):
        categorical(TWO_WAYS, (2, 3))
    with pytest.raises(ValueError, match="of 3 actions, not of 2"):
        categorical(TWO_WAYS, actions=2)
    with pytest.raises(ValueError, match="of 3 actions, not of 2"):
        gaussian(WALKER, low=[-1.0] * 2, high=[1.0] * 2)
    with pytest.raises(ValueError, match="of 3 outputs, not of 2"):
        MirroredEncoder(Encoder((6,), 2), WALKER.observations, WALKER.actions)


@pytest.mark.parametrize("make", [values, categorical])
def test_an_object_that_is_not_a_mirror_is_refused_with_advice(make):
    with pytest.raises(TypeError, match=r"mirror must be a MirrorSymmetry, as of tf_trpo.environments.known_mirror"):
        make("Swimmer-v5")


def test_actions_must_mirror_each_other():
    assert gaussian(WALKER).action_distribution.std_groups == (0, 0, 1)
    without_end = gaussian(WALKER, low=[-np.inf] * 3, high=[2.0, 2.0, np.inf])
    assert without_end.encoder.outputs == WALKER.actions
    with pytest.raises(ValueError, match="std_groups must give them one std"):
        Gaussian([-1.0] * 3, [1.0] * 3).mirrored(WALKER.actions)
    with pytest.raises(ValueError, match="bounds of action"):
        gaussian(WALKER, low=[-1.0, -1.0, -1.0], high=[1.0, 1.0, 2.0])
    with pytest.raises(ValueError, match="have no sign"):
        categorical(WALKER)
    with pytest.raises(ValueError, match="the settings ask for a mirror symmetry"):
        make_policy(PolicySettings(mirror=True), seen(6), gym.spaces.Discrete(3))

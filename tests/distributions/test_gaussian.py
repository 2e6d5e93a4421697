"""Gaussian distribution: closed forms of log-probability, KL and entropy; samples; what environments are given."""

import json
import math

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.distributions import Gaussian
from tf_trpo.distributions.gaussian import LOG_STD_RANGE
from tf_trpo.models import Encoder, Policy, mlp

both_kinds_of_std = pytest.mark.parametrize("state_dependent_std", [False, True])


def make_gaussian(state_dependent_std=False, **kwargs):
    return Gaussian([-1.0, -2.0], [1.0, 0.5], state_dependent_std=state_dependent_std, **kwargs)


def make_policy(state_dependent_std=False, **kwargs):
    distribution = make_gaussian(state_dependent_std, **kwargs)
    return Policy(Encoder((3,), distribution.num_outputs, network=mlp((3,), (16,), seed=0), seed=0), distribution)


def normals(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def random_parameters(rows=7, seed=0):
    """[mean, log_std] of two action dimensions, float64."""
    return np.concatenate([2.0 * normals(rows, 2, seed=seed), 0.5 * normals(rows, 2, seed=seed + 1)], axis=1)


def closed_form_log_prob(parameters, actions):
    mean, log_std = np.split(parameters, 2, axis=1)
    return np.sum(-0.5 * ((actions - mean) / np.exp(log_std)) ** 2 - log_std - 0.5 * np.log(2 * np.pi), axis=1)


def closed_form_kl(old, new):
    old_mean, old_log_std = np.split(old, 2, axis=1)
    new_mean, new_log_std = np.split(new, 2, axis=1)
    spread = np.exp(2 * old_log_std) + (old_mean - new_mean) ** 2
    return np.sum(new_log_std - old_log_std + spread / (2 * np.exp(2 * new_log_std)) - 0.5, axis=1)


@both_kinds_of_std
def test_call_returns_one_joint_action_distribution_for_each_observation(state_dependent_std):
    distribution = make_policy(state_dependent_std)(tf.zeros([5, 3]))
    assert distribution.batch_shape == (5,)
    assert distribution.event_shape == (2,)
    assert distribution.dtype == tf.float32


@both_kinds_of_std
def test_call_is_the_distribution_of_the_parameters(state_dependent_std):
    policy = make_policy(state_dependent_std)
    observations, actions = normals(5, 3).astype(np.float32), normals(5, 2, seed=1).astype(np.float32)
    parameters = policy.distribution_parameters(observations).numpy()
    assert parameters.shape == (5, 4)
    np.testing.assert_allclose(
        policy(observations).log_prob(actions), closed_form_log_prob(parameters, actions), rtol=1e-5, atol=1e-5
    )


@both_kinds_of_std
def test_log_prob_is_joint_over_the_action_dimensions(state_dependent_std):
    parameters, actions = random_parameters(), normals(7, 2, seed=9)
    log_prob = make_gaussian(state_dependent_std).distribution(tf.constant(parameters)).log_prob(actions)
    np.testing.assert_allclose(log_prob, closed_form_log_prob(parameters, actions), rtol=1e-12)


@both_kinds_of_std
def test_kl_is_the_joint_kl_of_old_from_new(state_dependent_std):
    old, new = random_parameters(seed=2), random_parameters(seed=4)
    assert not np.allclose(closed_form_kl(old, new), closed_form_kl(new, old), rtol=0.1)
    kl = make_gaussian(state_dependent_std).kl(tf.constant(old), tf.constant(new))
    np.testing.assert_allclose(kl, closed_form_kl(old, new), rtol=1e-12)


def test_entropy_is_the_sum_over_the_action_dimensions():
    parameters = random_parameters()
    expected = np.sum(parameters[:, 2:] + 0.5 * math.log(2 * math.pi * math.e), axis=1)
    np.testing.assert_allclose(make_gaussian().entropy(tf.constant(parameters)), expected, rtol=1e-12)


@pytest.mark.parametrize("initial_std", [0.3, 1.0, 2.0])
def test_initial_std_is_the_std_in_every_state(initial_std):
    std = make_policy(initial_std=initial_std)(normals(20, 3).astype(np.float32)).stddev()
    np.testing.assert_allclose(std, np.full([20, 2], initial_std), rtol=1e-6)


@pytest.mark.parametrize("initial_std", [0.3, 1.0, 2.0])
def test_initial_std_is_about_the_std_in_every_state_when_it_depends_on_the_state(initial_std):
    std = make_policy(True, initial_std=initial_std)(normals(20, 3).astype(np.float32)).stddev().numpy()
    np.testing.assert_allclose(std, np.full([20, 2], initial_std), rtol=0.05)
    assert np.ptp(std[:, 0]) > 0


@pytest.mark.parametrize("initial_std", [0.0, -1.0])
def test_initial_std_must_be_positive(initial_std):
    with pytest.raises(ValueError, match="initial_std must be positive"):
        make_gaussian(initial_std=initial_std)


@both_kinds_of_std
def test_mean_starts_near_zero_and_still_depends_on_the_state(state_dependent_std):
    means = make_policy(state_dependent_std)(10 * normals(200, 3).astype(np.float32)).mean().numpy()
    # 16 tanh features have a norm of at most 4, and the output layer a gain of 0.01.
    assert np.abs(means).max() <= 0.04
    assert np.std(means, axis=0).min() > 1e-4


def test_log_std_is_one_free_weight_per_dimension_and_trainable():
    policy = make_policy()
    assert any(variable is policy.action_distribution.log_std for variable in policy.trainable_variables)
    assert policy.action_distribution.log_std.shape == (2,)
    policy.action_distribution.log_std.assign([-1.0, 0.5])
    std = policy(normals(4, 3).astype(np.float32)).stddev()
    np.testing.assert_allclose(std, np.broadcast_to(np.exp([-1.0, 0.5]), [4, 2]), rtol=1e-6)


@both_kinds_of_std
def test_every_trainable_weight_moves_the_log_prob(state_dependent_std):
    policy = make_policy(state_dependent_std)
    with tf.GradientTape() as tape:
        log_prob = policy(normals(6, 3).astype(np.float32)).log_prob(normals(6, 2, seed=1).astype(np.float32))
    for gradient in tape.gradient(log_prob, [variable.value for variable in policy.trainable_variables]):
        assert np.abs(gradient.numpy()).max() > 0


def test_state_dependent_std_has_no_free_weight():
    assert len(make_policy(True).trainable_variables) == len(make_policy(False).trainable_variables) - 1


@pytest.mark.parametrize(("output", "limit"), [(-1e4, LOG_STD_RANGE[0]), (1e4, LOG_STD_RANGE[1])])
def test_state_dependent_log_std_stays_within_its_range(output, limit):
    policy = make_policy(True, initial_std=0.5)
    policy.encoder.output_layer.bias.assign([0.0, 0.0, output, output])
    log_std = policy.distribution_parameters(tf.zeros([3, 3]))[:, 2:]
    np.testing.assert_array_equal(log_std, np.full([3, 2], limit, np.float32))


@both_kinds_of_std
def test_std_is_the_mean_over_the_action_dimensions(state_dependent_std):
    policy = make_policy(state_dependent_std)
    observations = normals(4, 3).astype(np.float32)
    std = policy.action_distribution.figures(policy.distribution_parameters(observations))["std"]
    np.testing.assert_allclose(std, policy(observations).stddev().numpy().mean(axis=1), rtol=1e-6)


def test_sample_is_mean_plus_std_times_noise():
    parameters, noise = random_parameters(), normals(7, 2, seed=3)
    sample = make_gaussian().sample(tf.constant(parameters), tf.constant(noise))
    np.testing.assert_allclose(sample, parameters[:, :2] + np.exp(parameters[:, 2:]) * noise, rtol=1e-12)


def test_noise_is_a_function_of_its_seed():
    gaussian = make_gaussian()
    noise = gaussian.noise([4, 3], tf.constant([1, 2])).numpy()
    assert noise.shape == (4, 3, 2)
    assert noise.dtype == np.float32
    np.testing.assert_array_equal(noise, gaussian.noise([4, 3], tf.constant([1, 2])))
    assert not np.any(noise == gaussian.noise([4, 3], tf.constant([2, 1])).numpy())


def test_samples_have_the_moments_of_the_distribution():
    gaussian, count = make_gaussian(), 200_000
    mean, log_std = np.array([0.5, -3.0]), np.array([-1.0, 0.7])
    parameters = np.tile(np.concatenate([mean, log_std]).astype(np.float32), [count, 1])
    samples = gaussian.sample(tf.constant(parameters), gaussian.noise([count], tf.constant([5, 6]))).numpy()
    assert np.all(np.isfinite(samples))
    standardised = (samples - mean) / np.exp(log_std)
    # Standard errors of the first four moments of a standard normal: 1, sqrt 2, sqrt 15, sqrt 96 over sqrt n.
    moments = [np.mean(standardised**power, axis=0) for power in (1, 2, 3, 4)]
    errors = np.sqrt([1, 2, 15, 96]) / math.sqrt(count)
    for moment, expected, error in zip(moments, (0, 1, 0, 3), errors, strict=True):
        np.testing.assert_allclose(moment, expected, atol=5 * error)
    assert abs(np.mean(standardised[:, 0] * standardised[:, 1])) < 5 / math.sqrt(count)


def test_mode_is_the_mean():
    parameters = random_parameters()
    np.testing.assert_array_equal(make_gaussian().mode(tf.constant(parameters)), parameters[:, :2])


def test_only_the_environment_sees_clipped_actions():
    gaussian = make_gaussian()
    parameters = np.array([[0.3, -0.4, 2.0, 2.0]] * 50, np.float32)
    actions = gaussian.sample(tf.constant(parameters), gaussian.noise([50], tf.constant([0, 0]))).numpy()
    outside = (actions < [-1.0, -2.0]) | (actions > [1.0, 0.5])
    assert outside.mean() > 0.5
    given = gaussian.to_environment(tf.constant(actions)).numpy()
    np.testing.assert_array_equal(given, np.clip(actions, np.float32([-1.0, -2.0]), np.float32([1.0, 0.5])))


def test_actions_without_bounds_pass_as_they_are():
    gaussian = Gaussian([-np.inf, -np.inf], [np.inf, np.inf])
    actions = 1e6 * normals(9, 2).astype(np.float32)
    np.testing.assert_array_equal(gaussian.to_environment(tf.constant(actions)), actions)


@pytest.mark.parametrize("action_shape", [(), (4,), (2, 2), (1, 4)])
def test_the_environment_gets_its_own_action_shape(action_shape):
    size = math.prod(action_shape)
    gaussian = Gaussian([-9.0] * size, [9.0] * size, action_shape=action_shape)
    actions = np.arange(5.0 * size, dtype=np.float32).reshape(5, size) / 3
    given = gaussian.to_environment(tf.constant(actions)).numpy()
    np.testing.assert_array_equal(given, actions.reshape(5, *action_shape))


@both_kinds_of_std
def test_config_round_trip_keeps_settings_and_function(state_dependent_std):
    policy = make_policy(state_dependent_std, initial_std=0.7, action_shape=(2, 1))
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(policy)))
    copy = keras.saving.deserialize_keras_object(config)
    assert isinstance(copy.action_distribution, Gaussian)
    assert copy.action_distribution.get_config() == policy.action_distribution.get_config()
    copy.set_weights(policy.get_weights())
    observations = normals(4, 3).astype(np.float32)
    parameters = policy.distribution_parameters(observations)
    np.testing.assert_array_equal(copy.distribution_parameters(observations), parameters)
    given = [model.action_distribution.to_environment(parameters[:, :2]) for model in (copy, policy)]
    np.testing.assert_array_equal(*given)


@pytest.mark.parametrize(
    ("low", "high", "shape"),
    [([-1], [1, 1], None), ([-1, -1], [1, 1], (3,)), ([-1], [1], (2, 2)), ([-1], [1], (10**9,))],
)
def test_bounds_that_do_not_fit_the_actions_are_refused(low, high, shape):
    with pytest.raises(ValueError, match="upper bounds do not fit actions of shape"):
        Gaussian(low, high, action_shape=shape)


def test_a_standard_deviation_that_is_not_learned_is_no_trainable_weight():
    policy = make_policy(learned_std=False, initial_std=0.5)
    assert id(policy.action_distribution.log_std) not in {id(variable) for variable in policy.trainable_variables}
    assert policy.flat_weights.shape[0] == make_policy().flat_weights.shape[0] - 2
    for std in (0.25, tf.constant(0.25, tf.float64)):
        policy.action_distribution.set_std(1.0)
        policy.action_distribution.set_std(std)
        stddev = policy(normals(4, 3).astype(np.float32)).stddev()
        np.testing.assert_allclose(stddev, np.full([4, 2], 0.25), rtol=1e-6)


def test_a_standard_deviation_that_depends_on_the_observation_cannot_be_held():
    with pytest.raises(ValueError, match="depends on the observation is learned"):
        make_gaussian(True, learned_std=False)
    with pytest.raises(ValueError, match="cannot be set"):
        make_gaussian(True).set_std(0.5)


def test_dimensions_of_one_group_share_one_free_standard_deviation():
    gaussian = Gaussian([-1.0] * 4, [1.0] * 4, std_groups=[1, 0, 1, 2])
    assert gaussian.log_std.shape == (3,)
    log_std = np.float32([0.1, -0.2, 0.3])
    gaussian.log_std.assign(log_std)
    means = normals(5, 4).astype(np.float32)
    with tf.GradientTape() as tape:
        parameters = gaussian.parameters(tf.constant(means))
        total = tf.reduce_sum(parameters[:, 4:] * [1.0, 10.0, 100.0, 1000.0])
    expected = np.concatenate([means, np.tile(log_std[[1, 0, 1, 2]], [5, 1])], axis=1)
    np.testing.assert_array_equal(parameters, expected)
    np.testing.assert_array_equal(tf.convert_to_tensor(tape.gradient(total, gaussian.log_std.value)), [50, 505, 5000])
    assert Gaussian.from_config(gaussian.get_config()).std_groups == (1, 0, 1, 2)


@pytest.mark.parametrize("groups", [[0], [0, 2], [-1, 0], [1, 1]])
def test_groups_that_are_not_numbered_without_gaps_are_refused(groups):
    with pytest.raises(ValueError, match="std_groups must number 2 dimensions' groups"):
        make_gaussian(std_groups=groups)


def test_it_fits_a_box_of_its_shape_only():
    gaussian = make_gaussian(action_shape=(2, 1))
    assert gaussian.fits(gym.spaces.Box(-5, 5, (2, 1)))
    assert not gaussian.fits(gym.spaces.Box(-5, 5, (2,)))
    assert not gaussian.fits(gym.spaces.Discrete(2))

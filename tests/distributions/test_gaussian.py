"""Gaussian distribution: closed forms of log-probability, KL and entropy; samples; environment actions."""

import math

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


@both_kinds_of_std
def test_call_is_the_distribution_of_the_parameters(state_dependent_std):
    policy = make_policy(state_dependent_std)
    observations, actions = normals(5, 3).astype(np.float32), normals(5, 2, seed=1).astype(np.float32)
    parameters = policy.distribution_parameters(observations).numpy()
    assert parameters.shape == (5, 4)
    distribution = policy(observations)
    assert (distribution.batch_shape, distribution.event_shape, distribution.dtype) == ((5,), (2,), tf.float32)
    expected = closed_form_log_prob(parameters, actions)
    np.testing.assert_allclose(distribution.log_prob(actions), expected, rtol=1e-5, atol=1e-5)


def test_log_prob_kl_and_entropy_are_joint_over_the_action_dimensions():
    gaussian, old, new, actions = make_gaussian(), random_parameters(seed=2), random_parameters(seed=4), normals(7, 2)
    log_prob = gaussian.log_prob(tf.constant(old), tf.constant(actions))
    np.testing.assert_allclose(log_prob, closed_form_log_prob(old, actions), rtol=1e-12)
    variance, new_variance = np.exp(2 * old[:, 2:]), np.exp(2 * new[:, 2:])
    spread = (variance + (old[:, :2] - new[:, :2]) ** 2) / new_variance
    kl = np.sum(0.5 * np.log(new_variance / variance) + 0.5 * spread - 0.5, axis=1)
    np.testing.assert_allclose(gaussian.kl(tf.constant(old), tf.constant(new)), kl, rtol=1e-12)
    entropy = np.sum(old[:, 2:] + 0.5 * math.log(2 * math.pi * math.e), axis=1)
    np.testing.assert_allclose(gaussian.entropy(tf.constant(old)), entropy, rtol=1e-12)


@both_kinds_of_std
@pytest.mark.parametrize("initial_std", [0.3, 2.0, 100.0])
def test_every_state_begins_with_the_initial_std_and_the_middle_of_the_box(initial_std, state_dependent_std):
    distribution = make_policy(state_dependent_std, initial_std=initial_std)(10 * normals(20, 3).astype(np.float32))
    np.testing.assert_allclose(distribution.stddev(), np.full([20, 2], initial_std), rtol=1e-6)
    np.testing.assert_array_equal(distribution.mean(), np.zeros([20, 2]))


def test_log_std_is_one_free_weight_per_dimension_and_trainable():
    policy = make_policy()
    assert any(variable is policy.action_distribution.log_std for variable in policy.trainable_variables)
    assert policy.action_distribution.log_std.shape == (2,)
    assert len(make_policy(True).trainable_variables) == len(policy.trainable_variables) - 1
    policy.action_distribution.log_std.assign([-1.0, 0.5])
    std = policy(normals(4, 3).astype(np.float32)).stddev()
    np.testing.assert_allclose(std, np.broadcast_to(np.exp([-1.0, 0.5]), [4, 2]), rtol=1e-6)


@pytest.mark.parametrize(("output", "limit"), [(-1e4, LOG_STD_RANGE[0]), (1e4, LOG_STD_RANGE[1])])
def test_state_dependent_log_std_stays_within_its_range(output, limit):
    policy = make_policy(True, initial_std=0.5)
    policy.encoder.output_layer.bias.assign([0.0, 0.0, output, output])
    log_std = policy.distribution_parameters(tf.zeros([3, 3]))[:, 2:]
    np.testing.assert_array_equal(log_std, np.full([3, 2], np.float32(limit) + np.float32(np.log(0.5))))


def test_a_large_state_dependent_std_can_be_learned():
    gaussian = make_policy(True, initial_std=100.0).action_distribution
    outputs = tf.zeros([1, 4])
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        entropy = gaussian.entropy(gaussian.parameters(outputs))
    np.testing.assert_allclose(tape.gradient(entropy, outputs), [[0, 0, 1, 1]], rtol=1e-6)


@both_kinds_of_std
def test_std_is_the_mean_over_the_action_dimensions(state_dependent_std):
    policy = make_policy(state_dependent_std)
    observations = normals(4, 3).astype(np.float32)
    std = policy.action_distribution.figures(policy.distribution_parameters(observations))["std"]
    np.testing.assert_allclose(std, policy(observations).stddev().numpy().mean(axis=1), rtol=1e-6)


def test_sample_is_mean_plus_std_times_noise_and_the_mode_is_the_mean():
    parameters, noise = random_parameters(), normals(7, 2, seed=3)
    sample = make_gaussian().sample(tf.constant(parameters), tf.constant(noise))
    np.testing.assert_allclose(sample, parameters[:, :2] + np.exp(parameters[:, 2:]) * noise, rtol=1e-12)
    np.testing.assert_array_equal(make_gaussian().mode(tf.constant(parameters)), parameters[:, :2])


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


def test_a_standard_deviation_on_a_schedule_is_geometric_and_no_trainable_weight():
    policy = make_policy(initial_std=0.5, final_std=0.125)
    assert policy.flat_weights.shape[0] == make_policy().flat_weights.shape[0] - 2
    for progress, expected in [(0.0, 0.5), (0.5, 0.25), (1.0, 0.125)]:
        policy.action_distribution.follow_schedule(progress)
        np.testing.assert_allclose(policy(tf.ones([4, 3])).stddev(), np.full([4, 2], expected), rtol=1e-6)
    learned = make_gaussian()
    learned.follow_schedule(0.5)
    np.testing.assert_array_equal(learned.log_std, [0, 0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"initial_std": 0.0}, "initial_std must be positive"),
        ({"initial_std": math.inf}, "initial_std must be positive"),
        ({"initial_std": math.nan}, "initial_std must be positive"),
        ({"final_std": 0.0}, "final_std must be positive"),
        ({"final_std": math.inf}, "final_std must be positive"),
        ({"final_std": 0.1, "state_dependent_std": True}, "depends on the observation is learned"),
        ({"std_groups": [0, 0], "state_dependent_std": True}, "depends on the observation is learned"),
        *[({"std_groups": groups}, "must number 2 dimensions' groups") for groups in ([0], [0, 2], [-1, 0], [1, 1])],
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make_gaussian(**settings)


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

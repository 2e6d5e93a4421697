"""Policies and value functions that respect a reflection of their environment."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tf_trpo.models.distributions import diagonal_gaussian

import tf_trpo
from tf_trpo.estimation import Moments
from tf_trpo.models import (
    CategoricalPolicy,
    GaussianPolicy,
    MirrorSymmetry,
    Policy,
    PolicyAverage,
    Reflection,
    ValueFunction,
)
from tf_trpo.numerics import gauss_newton_fisher_vector_product
from tf_trpo.rollouts.actor import LiteActor

WALKER = MirrorSymmetry(
    Reflection.from_names("height -lean right_knee left_knee -right_tilt -left_tilt"),
    Reflection.from_names("right_torque left_torque -twist"),
)
TWO_WAYS = MirrorSymmetry(WALKER.observations, Reflection.from_names("left_push none right_push"))


def matrix(permutation):
    """The reflection as a dense matrix."""
    out = np.zeros((len(permutation.signs),) * 2, np.float32)
    for row, (source, sign) in enumerate(zip(permutation.sources, permutation.signs, strict=True)):
        out[row, source] = sign
    return out


def image(samples):
    """What WALKER makes of observations, by the dense matrix."""
    return samples @ matrix(WALKER.observations).T


def moments(samples, count=None):
    """Of that many samples like these; of these alone by default."""
    size = len(samples) if count is None else count
    return Moments(*(tf.constant(x, samples.dtype) for x in (samples.mean(axis=0), samples.var(axis=0), size)))


@st.composite
def involutions(draw, largest=7):
    size = draw(st.integers(1, largest))
    order = draw(st.permutations(range(size)))
    pairs = draw(st.integers(0, size // 2))
    sources, signs = list(range(size)), draw(st.lists(st.sampled_from([1, -1]), min_size=size, max_size=size))
    for pair in range(pairs):
        one, other = order[2 * pair : 2 * pair + 2]
        sources[one], sources[other], signs[other] = other, one, signs[one]
    return Reflection(tuple(sources), tuple(signs))


def trained(model, seed=0):
    """Any weights and statistics, as after training."""
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(size=weight.shape) * 0.5 for weight in model.get_weights()])
    shape = model.observation_shape
    model.normalization.update(
        Moments(*(tf.constant(x, tf.float32) for x in (rng.normal(size=shape), rng.uniform(0.5, 2, size=shape), 20.0)))
    )
    return model


def observations(mirror, rows=20, seed=1):
    return np.random.default_rng(seed).normal(size=(rows, len(mirror.observations.signs))).astype(np.float32)


def gaussian(mirror, **kwargs):
    actions = len(mirror.actions.signs)
    size = len(mirror.observations.signs)
    return GaussianPolicy((size,), [-1.0] * actions, [1.0] * actions, mirror=mirror, seed=0, **kwargs)


def test_names_say_what_changes_its_sign_and_what_its_place():
    assert WALKER.observations == Reflection((0, 1, 3, 2, 5, 4), (1, -1, 1, 1, -1, -1))
    vectors = tf.constant([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])
    np.testing.assert_array_equal(WALKER.observations(vectors), [[1, -2, 4, 3, -6, -5]])
    np.testing.assert_array_equal(WALKER.observations.unsigned()(vectors), [[1, 2, 4, 3, 6, 5]])


@pytest.mark.parametrize(
    "names", ["left_leg", "one one", "-one one", "--one -one one", "left_leg right_arm", "left_leg -right_leg"]
)
def test_names_that_make_no_reflection_are_refused(names):
    with pytest.raises(ValueError, match="each name must stand once"):
        Reflection.from_names(names)


@settings(max_examples=50, deadline=None)
@given(involutions())
def test_mirrored_twice_all_is_as_it_was(permutation):
    vectors = np.random.default_rng(0).normal(size=(3, len(permutation.signs))).astype(np.float32)
    np.testing.assert_array_equal(permutation(tf.constant(vectors)), vectors @ matrix(permutation).T)
    np.testing.assert_array_equal(permutation(permutation(tf.constant(vectors))), vectors)


@pytest.mark.parametrize(
    ("sources", "signs"),
    [((1, 2, 0), (1, 1, 1)), ((1, 0), (1, -1)), ((0, 0), (1, 1)), ((0, 1), (1, 2)), ((0,), (1, 1)), ((0, 5), (1, 1))],
)
def test_what_is_no_reflection_is_refused(sources, signs):
    with pytest.raises(ValueError, match="applied twice"):
        Reflection(sources, signs)


def test_positions_and_signs_may_be_any_integers_and_nothing_else():
    assert Reflection(np.array([1, 0]), [np.int64(-1), -1]) == Reflection((1, 0), (-1, -1))
    with pytest.raises(TypeError, match="integer"):
        Reflection((0.0, 1.0), (1, 1))


@settings(max_examples=20, deadline=None)
@given(involutions(), st.integers(0, 2**31 - 1))
def test_moments_of_samples_and_images_are_those_of_both_together(permutation, seed):
    samples = np.random.default_rng(seed).normal(3.0, 1.0, size=(30, len(permutation.signs)))
    both = np.concatenate([samples, samples @ matrix(permutation).T])
    symmetric = permutation.symmetric(moments(samples))
    np.testing.assert_allclose(symmetric.mean, both.mean(axis=0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(symmetric.variance, both.var(axis=0), rtol=1e-9, atol=1e-9)
    assert symmetric.count == 30


@settings(max_examples=20, deadline=None)
@given(involutions(), involutions(4), st.booleans(), st.integers(0, 2**31 - 1))
def test_what_a_gaussian_policy_does_in_the_mirror_is_the_mirror_image(seen, done, state_dependent_std, seed):
    mirror = MirrorSymmetry(seen, done)
    policy = trained(gaussian(mirror, state_dependent_std=state_dependent_std), seed)
    here = observations(mirror)
    parameters = policy.distribution_parameters(tf.constant(here)).numpy()
    images = policy.distribution_parameters(tf.constant(here @ matrix(seen).T)).numpy()
    mean, log_std = np.split(parameters, 2, axis=1)
    mirrored = np.concatenate([mean @ matrix(done).T, log_std @ np.abs(matrix(done)).T], axis=1)
    np.testing.assert_allclose(images, mirrored, rtol=1e-5, atol=1e-5)
    assert np.ptp(mean, axis=0).max() > 0.01 or np.array_equal(np.eye(len(done.signs)), -matrix(done))


def test_a_categorical_policy_swaps_its_actions():
    policy = trained(CategoricalPolicy((6,), 3, mirror=TWO_WAYS, seed=0))
    here = observations(TWO_WAYS)
    logits = policy.distribution_parameters(tf.constant(here)).numpy()
    images = policy.distribution_parameters(tf.constant(image(here))).numpy()
    np.testing.assert_allclose(images, logits[:, ::-1], rtol=1e-5, atol=1e-5)
    assert np.ptp(logits[:, 0] - logits[:, 2]) > 0.1


def test_an_observation_and_its_image_have_one_value():
    value_function = trained(ValueFunction((6,), mirror=WALKER, seed=0))
    here = observations(WALKER)
    values = value_function(tf.constant(here)).numpy()
    np.testing.assert_allclose(value_function(tf.constant(image(here))), values, rtol=1e-5, atol=1e-5)
    assert np.ptp(values) > 0.1


def test_the_outputs_are_the_mean_of_the_network_here_and_in_the_mirror():
    policy = trained(gaussian(WALKER))
    plain = GaussianPolicy((6,), [-1.0] * 3, [1.0] * 3, seed=0)
    plain.set_weights(policy.get_weights())
    here = observations(WALKER)
    own, other = (plain.outputs(tf.constant(x)).numpy() for x in (here, image(here)))
    naive = 0.5 * (own + other @ matrix(WALKER.actions).T)
    np.testing.assert_allclose(policy.outputs(tf.constant(here)), naive, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("model", [gaussian(WALKER), ValueFunction((6,), mirror=WALKER)])
def test_samples_of_one_side_normalise_both_alike(model):
    # All far to one side: the images would be beyond the clipping, were the statistics those of the samples.
    lopsided = np.random.default_rng(5).normal(2.0, 0.03, size=(50, 6)).astype(np.float32)
    model.update_normalization(moments(lopsided))
    normalized, images = (model.normalization(tf.constant(x)).numpy() for x in (lopsided, image(lopsided)))
    np.testing.assert_allclose(images, image(normalized), rtol=1e-5, atol=1e-5)
    assert np.abs(images).max() < 9


def test_new_statistics_leave_a_symmetric_policy_as_it_is():
    policy = trained(gaussian(WALKER))
    here = np.random.default_rng(4).normal(2.0, 0.03, size=(20, 6)).astype(np.float32)
    policy.update_normalization(moments(here, 1000))
    before, mean = policy.distribution_parameters(tf.constant(here)).numpy(), policy.normalization.mean.numpy()
    policy.update_normalization(moments(here + np.float32(0.5), 1000))
    assert np.abs(policy.normalization.mean.numpy() - mean).max() > 0.1
    np.testing.assert_allclose(policy.distribution_parameters(tf.constant(here)), before, rtol=1e-4, atol=1e-5)


def test_fisher_vector_products_are_those_of_the_dense_matrix():
    policy = trained(gaussian(WALKER, network=tf_trpo.models.mlp((6,), (4,), seed=0)))
    policy.log_std.assign([-0.5, 0.1, 0.3])
    here = tf.constant(observations(WALKER, rows=8))
    theta = policy.flat_weights
    with tf.GradientTape() as tape:
        tape.watch(theta)
        parameters = policy.parameters_at(theta, here)
    jacobian = tape.jacobian(parameters, theta)
    metric = tf.stack([tf.linalg.diag(tf.concat([tf.exp(-2 * row[3:]), 2 * tf.ones(3)], 0)) for row in parameters])
    dense = tf.einsum("nip,nij,njq->pq", jacobian, metric, jacobian).numpy() / 8
    product = gauss_newton_fisher_vector_product(
        lambda weights: policy.parameters_at(weights, here), policy.divergence, theta, tf.fill([8], 1 / 8)
    )
    vector = np.random.default_rng(2).normal(size=theta.shape).astype(np.float32)
    np.testing.assert_allclose(product(tf.constant(vector)), dense @ vector, rtol=1e-3, atol=1e-4)


def test_the_fast_actor_does_the_same():
    policy = trained(gaussian(WALKER))
    here = observations(WALKER, rows=4)
    noise = policy.noise([4], tf.constant([0, 1]))
    actions = LiteActor(policy, 4)(here, noise.numpy())
    np.testing.assert_allclose(actions.sampled, policy.act(tf.constant(here), noise), rtol=1e-4, atol=1e-5)


def test_an_average_of_symmetric_policies_is_symmetric():
    average = PolicyAverage(gaussian(WALKER), 0.9)
    for seed in range(3):
        average.update(trained(gaussian(WALKER), seed))
    here = observations(WALKER)
    parameters = average.policy.distribution_parameters(tf.constant(here)).numpy()[:, :3]
    images = average.policy.distribution_parameters(tf.constant(image(here))).numpy()[:, :3]
    np.testing.assert_allclose(images, parameters @ matrix(WALKER.actions).T, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mirror", [None, TWO_WAYS])
def test_a_saved_agent_has_its_mirror_again(tmp_path, mirror):
    agent = tf_trpo.TRPO(CategoricalPolicy((6,), 3, mirror=mirror, seed=0), ValueFunction((6,), mirror=mirror, seed=0))
    agent.compile()
    agent.save(tmp_path / "agent.keras")
    again = tf_trpo.load(tmp_path / "agent.keras")
    assert again.policy.mirror == again.value_function.mirror == mirror
    here = observations(TWO_WAYS)
    np.testing.assert_array_equal(again.predict(here), agent.predict(here))


@pytest.mark.parametrize("kind", [CategoricalPolicy, ValueFunction])
def test_models_of_before_there_were_mirrors_have_none(kind):
    model = kind((6,), 3) if kind is CategoricalPolicy else kind((6,))
    config = model.get_config()
    del config["mirror"]
    assert kind.from_config(config).mirror is None


def test_a_saved_model_for_serving_acts_as_the_agent_does(tmp_path):
    agent = tf_trpo.TRPO(trained(gaussian(WALKER)), ValueFunction((6,), mirror=WALKER))
    agent.compile()
    agent.export(tmp_path / "model")
    exported = tf.saved_model.load(str(next((tmp_path / "model").glob("*/saved_model.pb")).parent))
    here = observations(WALKER)
    actions = exported.signatures["serving_default"](tf.constant(here))["actions"]
    np.testing.assert_allclose(actions, agent.predict(here), rtol=1e-5, atol=1e-6)


def test_observations_and_actions_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"observations of shape \(6,\), not \(5,\)"):
        ValueFunction((5,), mirror=WALKER)
    with pytest.raises(ValueError, match=r"observations of shape \(6,\), not \(2, 3\)"):
        CategoricalPolicy((2, 3), 3, mirror=TWO_WAYS)
    with pytest.raises(ValueError, match="of 3 actions, not of 2"):
        CategoricalPolicy((6,), 2, mirror=TWO_WAYS)
    with pytest.raises(ValueError, match="of 3 actions, not of 2"):
        GaussianPolicy((6,), [-1.0] * 2, [1.0] * 2, mirror=WALKER)


@pytest.mark.parametrize("mirror", [True, "Swimmer-v5", (WALKER.observations, WALKER.actions)])
def test_what_is_no_mirror_is_refused_by_a_word_on_where_to_get_one(mirror):
    for make in (lambda: ValueFunction((6,), mirror=mirror), lambda: CategoricalPolicy((6,), 3, mirror=mirror)):
        with pytest.raises(
            TypeError, match=r"mirror must be a MirrorSymmetry, as of tf_trpo.environments.known_mirror"
        ):
            make()


def test_discrete_actions_have_no_signs():
    with pytest.raises(ValueError, match="have no sign"):
        CategoricalPolicy((6,), 3, mirror=WALKER)


@pytest.mark.parametrize(
    ("low", "high"), [([-1.0, -2.0, -1.0], [1.0, 1.0, 1.0]), ([-1.0, -1.0, -1.0], [1.0, 1.0, 2.0])]
)
def test_bounds_that_the_mirror_would_change_are_refused(low, high):
    with pytest.raises(ValueError, match="bounds of action"):
        GaussianPolicy((6,), low, high, mirror=WALKER)


def test_bounds_without_end_are_mirrored():
    low, high = [-np.inf, -np.inf, -np.inf], [2.0, 2.0, np.inf]
    assert GaussianPolicy((6,), low, high, mirror=WALKER).mirror == WALKER


class Normal(Policy):
    def distribution(self, parameters):
        return diagonal_gaussian(parameters, tf.zeros_like(parameters))


class OtherCategorical(CategoricalPolicy):
    def distribution(self, parameters):
        return super().distribution(2.0 * parameters)


def test_a_policy_that_does_not_say_what_its_mirror_image_is_cannot_have_one():
    with pytest.raises(NotImplementedError, match="Normal must define mirrored_outputs"):
        Normal((6,), 3, mirror=WALKER)
    with pytest.raises(NotImplementedError, match="OtherCategorical must define mirrored_outputs"):
        OtherCategorical((6,), 3, mirror=TWO_WAYS)
    assert Normal((6,), 3)(tf.constant(observations(WALKER))).batch_shape == (20,)


def test_a_config_of_keras_keeps_the_mirror():
    config = keras.saving.serialize_keras_object(gaussian(WALKER))
    assert keras.saving.deserialize_keras_object(config).mirror == WALKER

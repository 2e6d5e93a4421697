"""New statistics do not change the policy: its first layer absorbs them."""

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_trpo.distributions import Categorical
from tf_trpo.estimation import Moments
from tf_trpo.models import Encoder, Policy, RunningNormalization, mlp
from tf_trpo.models.absorbing import AffineRows, affine_rows
from tf_trpo.models.cells import make_cell
from tf_trpo.models.networks import default_network
from tf_trpo.spaces import PartSpec, as_spec, observation_spec

layers = keras.layers


def moments(samples):
    return Moments(*(tf.constant(x, tf.float64) for x in (samples.mean(axis=0), samples.var(axis=0), len(samples))))


def samples_of(rng, size, *shape):
    return rng.normal(rng.normal(size=shape), rng.uniform(0.5, 2.0, size=shape), size=(size, *shape))


def policy_of(network, *, shape=(3,), output_gain=1.0, **kwargs):
    return Policy(Encoder(shape, 4, network=network, output_gain=output_gain, seed=0, **kwargs), Categorical(4))


def take_in(policy, moments):
    """Add samples to the statistics as an update does: the first ones before it, all others at its end."""
    statistics = policy.encoder.begin_normalization([moments] * len(policy.encoder.normalization))
    return policy.encoder.update_normalization(statistics)


def outputs(policy, samples):
    return policy.distribution_parameters(tf.constant(samples, tf.float32)).numpy()


def assert_same(weights, others):
    for weight, other in zip(weights, others, strict=True):
        np.testing.assert_array_equal(weight, other)


NETWORKS = {
    "mlp": lambda: mlp((3,), (8, 8), seed=0),
    "linear policy": lambda: mlp((3,), ()),
    "relu": lambda: mlp((3,), (5,), activation="relu", seed=0),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_stay_the_same_while_the_statistics_change(name):
    rng, policy = np.random.default_rng(0), policy_of(NETWORKS[name]())
    take_in(policy, moments(samples_of(rng, 50, 3)))
    watched = samples_of(rng, 30, 3)
    before, mean = outputs(policy, watched), policy.encoder.normalization[0].mean.numpy()
    for _ in range(5):
        take_in(policy, moments(samples_of(rng, 40, 3)))
    assert np.abs(policy.encoder.normalization[0].mean.numpy() - mean).max() > 0.1
    assert np.ptp(before, axis=0).min() > 0.1
    np.testing.assert_allclose(outputs(policy, watched), before, rtol=1e-4, atol=1e-5)


@settings(max_examples=6)
@given(shape=st.sampled_from([(), (1,), (4,), (2, 3), (2, 1, 2)]), units=st.integers(1, 5), seed=st.integers(0, 10_000))
def test_outputs_stay_the_same_for_every_shape_and_scale(shape, units, seed):
    rng, policy = np.random.default_rng(seed), policy_of(mlp(shape, (units,), seed=seed), shape=shape)
    take_in(policy, moments(samples_of(rng, 50, *shape)))
    watched = samples_of(rng, 20, *shape)
    normalized = policy.encoder.normalization[0](tf.constant(watched, tf.float32)).numpy()
    watched = watched[(np.abs(normalized) < 9).reshape(len(watched), -1).all(axis=1)]
    before = outputs(policy, watched)
    take_in(policy, moments(samples_of(rng, 200, *shape)))
    after_normalized = policy.encoder.normalization[0](tf.constant(watched, tf.float32)).numpy()
    kept = (np.abs(after_normalized) < 10).reshape(len(watched), -1).all(axis=1)
    np.testing.assert_allclose(outputs(policy, watched)[kept], before[kept], rtol=1e-3, atol=1e-4)


def test_the_first_samples_do_not_change_the_weights_if_outputs_are_0():
    policy = policy_of(mlp((3,), (8,), seed=0), output_gain=0.0)
    weights, [normalization] = policy.flat_weights.numpy(), policy.encoder.normalization
    samples = 20 + samples_of(np.random.default_rng(0), 50, 3)
    take_in(policy, moments(samples))
    np.testing.assert_array_equal(policy.flat_weights, weights)
    np.testing.assert_array_equal(outputs(policy, samples), np.zeros([50, 4]))
    np.testing.assert_allclose(normalization.mean, samples.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(normalization.scale, samples.std(axis=0), rtol=1e-5)


@pytest.mark.parametrize(("name", "function_preserving"), [("mlp", False), ("linear policy", True)])
def test_the_first_samples_preserve_the_function_of_trained_weights(name, function_preserving):
    """Even if later statistics do not."""
    rng, policy = np.random.default_rng(0), policy_of(NETWORKS[name](), function_preserving=function_preserving)
    samples = 20 + 5 * samples_of(rng, 50, 3)
    before = outputs(policy, samples)
    take_in(policy, moments(samples))
    assert policy.encoder.normalization[0].count.numpy() == 50
    np.testing.assert_allclose(policy.encoder.normalization[0].scale, samples.std(axis=0), rtol=1e-5)
    np.testing.assert_allclose(outputs(policy, samples), before, rtol=1e-4, atol=1e-4)


def test_features_below_min_std_keep_their_weights_and_the_function_is_preserved():
    rng, policy = np.random.default_rng(0), policy_of(mlp((3,), (8,), seed=0), observation_min_std=1.0)
    samples, watched, others = np.array([3.0, 0.1, 0.2]) * rng.normal(size=(3, 50, 3))
    take_in(policy, moments(samples))
    before, kernel = outputs(policy, watched), policy.encoder.network.layers[0].kernel.numpy()
    take_in(policy, moments(1 + others))
    np.testing.assert_array_equal(policy.encoder.network.layers[0].kernel.numpy()[1:], kernel[1:])
    np.testing.assert_allclose(outputs(policy, watched), before, rtol=1e-4, atol=1e-5)


def test_moments_that_are_not_finite_change_no_bit_of_any_weight():
    rng, policy = np.random.default_rng(0), policy_of(mlp((3,), (8,), seed=0))
    for first in (True, False):
        before = policy.get_weights()
        for name, value in (("mean", [0.0, np.nan, 0.0]), ("variance", [1.0, 1.0, np.nan]), ("count", np.inf)):
            broken = moments(samples_of(rng, 50, 3))._replace(**{name: tf.constant(value, tf.float64)})
            assert not take_in(policy, broken)
            assert_same(policy.get_weights(), before)
        if first:
            take_in(policy, moments(samples_of(rng, 50, 3)))


def test_weights_of_a_feature_that_hardly_varied_before_do_not_explode():
    policy = policy_of(mlp((3,), (8,), seed=0))
    samples = samples_of(np.random.default_rng(0), 50, 3)
    still = samples.copy()
    still[:, 1] *= 1e-3
    take_in(policy, moments(still))
    kernel = policy.encoder.network.layers[0].kernel.numpy()
    take_in(policy, moments(samples))
    grown = policy.encoder.network.layers[0].kernel.numpy() / kernel
    np.testing.assert_allclose(grown[1], policy.encoder.normalization[0].clip, rtol=1e-5)
    assert np.all(np.abs(grown[[0, 2]] - 1) < 0.5)


@pytest.mark.parametrize("sizes", [(8,), ()], ids=str)
@pytest.mark.parametrize("jump", [False, True])
def test_a_feature_that_begins_to_vary_does_not_change_the_function_in_any_unit(jump, sizes):
    """It varies by noise, or jumps to another constant; its weights are those of a feature that is new."""
    rng, kernels = np.random.default_rng(0), []
    first, later, watched = samples_of(rng, 50, 3), samples_of(rng, 40, 3), samples_of(rng, 30, 3)
    first[:, 1] = 7.0
    if jump:
        later[:, 1] = watched[:, 1] = 9.0
    for unit in 2.0 ** np.array([0, 20, -20]):
        policy = policy_of(mlp((3,), sizes, seed=0), output_gain=0.0)
        take_in(policy, moments(first * [1.0, unit, 1.0]))
        policy.encoder.output_layer.kernel.assign(np.random.default_rng(1).normal(size=(sizes or (3,)) + (4,)))
        average = policy.flat_weights
        before = outputs(policy, watched * [1.0, unit, 1.0])
        np.testing.assert_array_equal(before, outputs(policy, (watched + np.array([0.0, 5.0, 0.0])) * [1.0, unit, 1.0]))
        statistics = policy.encoder.begin_normalization([moments(later * [1.0, unit, 1.0])])
        average = policy.absorbed_at(average, statistics)
        policy.encoder.update_normalization(statistics)
        np.testing.assert_allclose(outputs(policy, watched * [1.0, unit, 1.0]), before, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(average, policy.flat_weights)
        [rows] = policy.encoder.absorbing_rows()
        kernels.append(rows.layer.kernel.numpy())
        np.testing.assert_array_equal(kernels[-1][1], 0.0)
        normalized = policy.encoder.normalization[0](tf.constant(watched * [1.0, unit, 1.0]))
        assert 0.1 < np.abs(normalized[:, 1]).max() < 10
    assert_same(kernels, kernels[:1] * 3)


def test_a_first_rollout_of_one_row_does_not_set_all_weights_to_0():
    """Otherwise the first and the last layer would be 0, and with them all gradients."""
    rng, policy = np.random.default_rng(0), policy_of(mlp((3,), (8,), seed=0), output_gain=0.0)
    weights = policy.flat_weights.numpy()
    take_in(policy, moments(samples_of(rng, 1, 3)))
    take_in(policy, moments(samples_of(rng, 50, 3)))
    np.testing.assert_array_equal(policy.flat_weights, weights)


def test_trained_weights_keep_reading_a_feature_that_is_constant_at_first():
    """They were trained without statistics, in the feature's own unit."""
    rng, policy = np.random.default_rng(0), policy_of(mlp((3,), (8,), seed=0))
    first, watched = samples_of(rng, 50, 3), samples_of(rng, 30, 3)
    before, first[:, 1] = outputs(policy, watched), 0.5
    for samples in (first, samples_of(rng, 50, 3)):
        take_in(policy, moments(samples))
        np.testing.assert_allclose(outputs(policy, watched), before, rtol=1e-4, atol=1e-4)


def test_without_function_preserving_statistics_change_the_policy_and_not_the_weights():
    rng, policy = np.random.default_rng(0), policy_of(mlp((3,), (8,), seed=0), function_preserving=False)
    take_in(policy, moments(samples_of(rng, 50, 3)))
    watched = samples_of(rng, 30, 3)
    before, weights = outputs(policy, watched), policy.flat_weights.numpy()
    take_in(policy, moments(samples_of(rng, 50, 3)))
    np.testing.assert_array_equal(policy.flat_weights, weights)
    assert np.abs(outputs(policy, watched) - before).max() > 0.01


def functional(function):
    inputs = keras.Input((3,))
    return keras.Model(inputs, function(inputs))


def stack(*made, shape=(3,)):
    return keras.Sequential([keras.Input(shape), *made])


class Doubled(keras.Sequential):
    def call(self, inputs, training=None, mask=None):
        return super().call(2.0 * inputs)


def called_twice():
    layer = layers.Dense(3)
    return functional(lambda inputs: layer(layer(inputs)))


def frozen():
    network = mlp((3,), (8,))
    network.trainable = False
    return network


UNABSORBED = {
    "read twice": lambda: functional(lambda x: layers.Concatenate()([x, layers.Dense(4)(x)])),
    "called twice": called_twice,
    "no bias": lambda: stack(layers.Dense(4, use_bias=False)),
    "subclass": lambda: Doubled([keras.Input((3,)), layers.Dense(4)]),
    "frozen": frozen,
    "another layer": lambda: stack(layers.LayerNormalization(), layers.Dense(8)),
}


@pytest.mark.parametrize("make", UNABSORBED.values(), ids=UNABSORBED)
def test_without_an_absorbing_layer_the_weights_are_not_changed(make):
    rng, policy = np.random.default_rng(0), policy_of(make(), output_gain=0.0, normalize_observations=[""])
    weights = policy.flat_weights.numpy()
    # Observations are never normalised for trained weights.
    trained = policy_of(make(), normalize_observations=[""])
    watched, before = samples_of(rng, 30, 3), trained.get_weights()
    function = outputs(trained, watched)
    for _ in range(2):
        assert take_in(policy, moments(samples_of(rng, 50, 3)))
        assert take_in(trained, moments(samples_of(rng, 50, 3)))
    np.testing.assert_array_equal(policy.flat_weights, weights)
    assert policy.encoder.normalization[0].count.numpy() == 100
    assert_same(trained.get_weights(), before)
    np.testing.assert_array_equal(outputs(trained, watched), function)


def test_weights_that_a_model_inside_reads_with_absorb_nothing():
    layer = layers.Dense(4)
    inside = stack(layer)
    inputs = {name: keras.Input((3,), name=name) for name in "ab"}
    of_both = [layer(inputs["a"]), inside(layers.Activation("tanh")(inputs["b"]))]
    network = keras.Model(inputs, layers.Concatenate()(of_both))
    spec = {name: PartSpec((3,), "float32", "vector") for name in inputs}
    assert affine_rows(network, None, spec) == [None, None]


CELLS = {
    "gru": (make_cell("gru", 4, 0), True),
    "gru with one row of biases": (keras.layers.GRUCell(4, reset_after=False, bias_initializer="ones", seed=0), True),
    "lstm": (make_cell("lstm", 4, 0), True),
    "simple": (keras.layers.SimpleRNNCell(4, seed=0), True),
    "gru without biases": (keras.layers.GRUCell(4, use_bias=False, seed=0), False),
    "stacked": (keras.layers.StackedRNNCells([keras.layers.GRUCell(4, seed=0)]), False),
}


@pytest.mark.parametrize(("cell", "absorbs"), CELLS.values(), ids=CELLS)
def test_without_hidden_layers_the_cell_of_a_memory_absorbs_the_change(cell, absorbs):
    rng, policy = np.random.default_rng(0), policy_of(mlp((3,), ()), cell=cell)
    states = tuple(tf.constant(rng.normal(size=part.shape), tf.float32) for part in policy.initial_states(30))
    samples = 20 + samples_of(rng, 50, 3)
    watched = tf.constant(20 + samples_of(rng, 30, 3), tf.float32)
    if absorbs:
        take_in(policy, moments(samples))
    before = policy.step(watched, states)
    take_in(policy, moments(samples + rng.normal(size=3)))
    # Without an absorbing layer, trained weights never get statistics.
    [rows] = policy.encoder.absorbing_rows()
    assert rows == (AffineRows(cell, 0, 3) if absorbs else None)
    assert policy.encoder.normalization[0].count.numpy() == 100 * absorbs
    for now, then in zip(tf.nest.flatten(policy.step(watched, states)), tf.nest.flatten(before), strict=True):
        np.testing.assert_allclose(now, then, rtol=1e-3, atol=1e-4)


def test_a_policy_without_normalisation_has_no_statistics():
    policy = policy_of(mlp((3,), (8,), seed=0), normalize_observations=False)
    weights = policy.get_weights()
    assert take_in(policy, moments(samples_of(np.random.default_rng(0), 50, 3)))
    assert_same(policy.get_weights(), weights)


def test_a_dense_layer_absorbs_the_change_by_the_documented_formula():
    layer, normalization = keras.layers.Dense(2), RunningNormalization((3,))
    layer.build((None, 3))
    rows = AffineRows(layer, 0, 3)
    rng = np.random.default_rng(1)
    first, second = samples_of(rng, 10, 3), samples_of(rng, 30, 3)
    normalization.begin(moments(first), tf.constant(True), absorbed_by=rows)
    kernel, bias = layer.kernel.numpy().astype(np.float64), layer.bias.numpy().astype(np.float64)
    statistics = normalization.begin(moments(second), tf.constant(False), absorbed_by=rows)
    normalization.update(statistics, absorbed_by=rows)
    both = np.concatenate([first, second])
    mean, std, new_mean, new_std = first.mean(axis=0), first.std(axis=0), both.mean(axis=0), both.std(axis=0)
    expected = kernel * (new_std / std)[:, None]
    np.testing.assert_allclose(layer.kernel, expected, rtol=1e-5)
    np.testing.assert_allclose(layer.bias, bias + expected.T @ ((new_mean - mean) / new_std), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("function_preserving", [True, False])
@pytest.mark.parametrize(("sizes", "kind"), [((8,), None), ((8,), "gru"), ((), "gru"), ((), "lstm")], ids=str)
def test_absorbed_at_gives_the_weights_that_a_second_policy_would_get(sizes, kind, function_preserving):
    """If there are no hidden layers, it is the memory's cell that absorbs."""
    rng, network = np.random.default_rng(0), mlp((3,), sizes, seed=0)
    cell = None if kind is None else make_cell(kind, 4, 0)
    policy = policy_of(network, cell=cell, function_preserving=function_preserving)
    assert (policy.encoder.absorbing_rows()[0].layer is cell) == (sizes == ())
    take_in(policy, moments(samples_of(rng, 50, 3)))
    second = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(policy))
    assert second.encoder.function_preserving is function_preserving
    second.set_weights(policy.get_weights())
    theta = policy.flat_weights + tf.constant(rng.normal(size=policy.flat_weights.shape), tf.float32)
    second.assign_flat_weights(theta)
    new, before = moments(samples_of(rng, 40, 3)), policy.get_weights()
    statistics = policy.encoder.begin_normalization([new])
    absorbed = tf.function(policy.absorbed_at, autograph=False)(theta, statistics)
    assert_same(policy.get_weights(), before)
    take_in(second, new)
    np.testing.assert_allclose(absorbed, second.flat_weights, rtol=1e-5, atol=1e-6)
    assert (np.abs(absorbed - theta).max() > 0.1) == function_preserving


@pytest.mark.parametrize(
    ("shape", "made", "found"),
    [
        ((8, 4), [layers.Dense(8), layers.Flatten()], False),
        ((8, 4), [layers.Flatten(), layers.Dense(8)], True),
        ((8, 4), [layers.Flatten("channels_first"), layers.Dense(8)], False),
        ((1, 4), [layers.Dense(8), layers.Flatten()], True),
        ((4,), [layers.Identity(), layers.Dense(8)], True),
    ],
)
def test_a_dense_layer_absorbs_only_if_it_reads_all_numbers_in_their_order(shape, made, found):
    network = stack(*made, shape=shape)
    [rows] = affine_rows(network, layers.Dense(2), as_spec(shape))
    [dense] = [layer for layer in made if isinstance(layer, layers.Dense)]
    assert rows == (AffineRows(dense, 0, int(np.prod(shape))) if found else None)


PARTS = gym.spaces.Dict(
    image=gym.spaces.Box(0, 255, (5, 6, 3), np.uint8),
    kind=gym.spaces.Discrete(4),
    place=gym.spaces.Box(-np.inf, np.inf, (2,), np.float64),
    speed=gym.spaces.Box(-np.inf, np.inf, (2, 3), np.float32),
    inner=gym.spaces.Tuple([gym.spaces.Box(-np.inf, np.inf, (), np.float32), gym.spaces.MultiBinary(2)]),
    action_mask=gym.spaces.MultiBinary(4),
)


@pytest.mark.parametrize("sizes", [(8, 8), ()], ids=str)
@pytest.mark.parametrize("trained", [False, True])
def test_the_default_network_absorbs_the_statistics_of_every_vector(trained, sizes):
    """Also after a round trip through its config, and also the first statistics of trained weights."""
    spec, rng = observation_spec(PARTS), np.random.default_rng(1)
    made = Encoder(spec, 4, network=default_network(spec, sizes, seed=0), output_gain=float(trained), seed=0)
    encoder = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    encoder.set_weights(made.get_weights())

    def observations(rows):
        nest = tf.nest.map_structure(lambda *parts: np.stack(parts), *[PARTS.sample() for _ in range(rows)])
        affine = rng.uniform(0.7, 1.4), rng.uniform(-0.5, 0.5)
        return tf.nest.map_structure(
            lambda part: tf.constant(affine[0] * part + affine[1], part.dtype) if part.dtype.kind == "f" else part, nest
        )

    def take_in(samples):
        moments = encoder.moments(samples, tf.fill([60], 1 / 60), tf.constant(60.0))
        assert encoder.update_normalization(encoder.begin_normalization(moments))

    PARTS.seed(0)
    watched = observations(20)
    if not trained:
        take_in(observations(60))
        encoder.output_layer.kernel.assign(np.random.default_rng(2).normal(size=encoder.output_layer.kernel.shape))
    before = encoder(watched).numpy()
    weights = encoder.get_weights()
    for _ in range(3):
        take_in(observations(60))
    np.testing.assert_allclose(encoder(watched), before, rtol=1e-3, atol=1e-4)
    assert [float(layer.count) for layer in encoder.normalization] == [180.0 + 60.0 * (not trained)] * 3
    assert any(np.abs(old - new).max() > 0.01 for old, new in zip(weights, encoder.get_weights(), strict=True))

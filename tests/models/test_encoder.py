"""Encoders of nests against a naive computation in NumPy, part by part."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from gymnasium import spaces

from tf_trpo.distributions import Categorical
from tf_trpo.models import Encoder, Policy, mlp
from tf_trpo.spaces import map_parts, observation_spec, parts, without_masks

PLACE = spaces.Box(-np.inf, np.inf, (2,), np.float64)
SPEED = spaces.Box(-np.inf, np.inf, (2, 3), np.float32)
IMAGE = spaces.Box(0, 255, (5, 6, 3), np.uint8)
BOARD = spaces.Box(0, 3, (5, 6, 2), np.uint8)
KINDS = spaces.MultiDiscrete([[2, 3]], start=[[1, -4]])
NESTS = {
    "dict": spaces.Dict(
        speed=SPEED,
        inner=spaces.Dict(image=IMAGE, kind=spaces.Discrete(4, start=2), place=PLACE),
        count=spaces.Box(-9, 9, (), np.int16),
        kinds=KINDS,
        bits=spaces.MultiBinary(3),
        action_mask=spaces.MultiBinary(4),
    ),
    "tuple": spaces.Tuple([PLACE, spaces.Tuple([IMAGE, BOARD, KINDS]), spaces.MultiBinary((2, 2)), SPEED]),
}
any_nest = pytest.mark.parametrize("name", NESTS)


def joining(spec):
    """A network without weights that flattens and concatenates its inputs."""
    names = iter([name.replace("/", ".") for name, _ in parts(without_masks(spec, spec))])
    inputs = map_parts(lambda part: keras.Input(part.input_shape, name=next(names)), without_masks(spec, spec))
    flat = [keras.layers.Flatten()(part) for part in keras.tree.flatten(inputs)]
    return keras.Model(inputs, keras.layers.Concatenate()(flat))


def encoder_of(name, **kwargs):
    spec = observation_spec(NESTS[name])
    return Encoder(spec, 4, network=joining(spec), seed=0, **{"output_gain": 1.0} | kwargs)


def observations(space, rows, seed=0):
    """Random observations; the numbers of vectors are far from 0, each around its own centre."""
    space.seed(seed)
    rng, places = np.random.default_rng(seed), np.random.default_rng(9)

    def stacked(space):
        if isinstance(space, spaces.Dict):
            return {name: stacked(part) for name, part in space.spaces.items()}
        if isinstance(space, spaces.Tuple):
            return tuple(stacked(part) for part in space.spaces)
        if isinstance(space, spaces.Box) and space.dtype.kind == "f":
            place = places.normal(scale=1e9 if space.dtype == np.float64 else 10.0, size=space.shape)
            return (place + rng.normal(size=(rows, *space.shape))).astype(space.dtype)
        return np.stack([space.sample() for _ in range(rows)])

    return stacked(space)


def tensors(nest):
    return tf.nest.map_structure(tf.convert_to_tensor, nest)


def take_in(encoder, samples, weights):
    """Add samples to the statistics as an update does: the first ones before it, all others at its end."""
    moments = encoder.moments(
        tensors(samples), tf.constant(weights), tf.constant(np.count_nonzero(weights), tf.float32)
    )
    return encoder.update_normalization(encoder.begin_normalization(moments))


def naive_inputs(space, rows, seen=None, first=None):
    """The flat inputs [N, F] of the network, with parts in the order of names, normalised by the rows seen so far.

    With the first rows, images are scaled by them.
    """
    if isinstance(space, spaces.Dict):
        names = [name for name in sorted(space.spaces) if name != "action_mask"]
        return np.concatenate(
            [naive_inputs(space[name], rows[name], seen and seen[name], first and first[name]) for name in names],
            axis=1,
        )
    if isinstance(space, spaces.Tuple):
        places = enumerate(space.spaces)
        return np.concatenate(
            [naive_inputs(part, rows[i], seen and seen[i], first and first[i]) for i, part in places], axis=1
        )
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        sizes, starts = (
            np.ravel(x) for x in ((space.n, space.start) if space.shape == () else (space.nvec, space.start))
        )
        choices = rows.reshape(len(rows), -1) - starts
        return np.concatenate(
            [(1 if first is None else np.sqrt(size)) * np.eye(size)[choices[:, i]] for i, size in enumerate(sizes)],
            axis=1,
        )
    if space.dtype == np.uint8:
        image = rows.reshape(len(rows), -1) / space.high.max()
        return image if first is None else image / np.sqrt(np.mean((first / space.high.max()) ** 2))
    numbers = rows.reshape(len(rows), -1).astype(np.float64)
    if seen is None or isinstance(space, spaces.MultiBinary):
        return numbers
    seen = seen.reshape(len(seen), -1).astype(np.float64)
    return np.clip((numbers - seen.mean(axis=0)) / seen.std(axis=0), -10, 10)


def naive_outputs(encoder, inputs):
    return inputs @ encoder.output_layer.kernel.numpy() + encoder.output_layer.bias.numpy()


@any_nest
@pytest.mark.parametrize("scale_inputs", [False, True])
def test_outputs_of_a_nest_are_those_of_a_naive_computation(name, scale_inputs):
    encoder, space = encoder_of(name, output_gain=0.0, scale_inputs=scale_inputs), NESTS[name]
    batches = [observations(space, rows, seed) for seed, rows in enumerate((40, 30))]
    weights = [np.full(len(tf.nest.flatten(batch)[0]), 1 / 25, np.float32) for batch in batches]
    for of_batch in weights:
        of_batch[25:] = 0
    for batch, of_batch in zip(batches, weights, strict=True):
        assert take_in(encoder, batch, of_batch)
    together = tf.nest.map_structure(lambda *parts: np.concatenate([part[:25] for part in parts]), *batches)
    encoder.output_layer.kernel.assign(np.random.default_rng(3).normal(size=encoder.output_layer.kernel.shape))
    watched = observations(space, 20, seed=5)
    # One of the rows is far beyond the clipping limit.
    tf.nest.map_structure(lambda part: part.__setitem__(0, part[0] + 100 * (part.dtype.kind == "f")), watched)
    # The scale of images was measured as long as the outputs were 0, by all rows of a batch.
    first = batches[1] if scale_inputs else None
    expected = naive_outputs(encoder, naive_inputs(space, watched, together, first))
    np.testing.assert_allclose(encoder(tensors(watched)), expected, rtol=1e-4, atol=1e-3)
    assert [float(layer.count.numpy()) for layer in encoder.normalization] == [50.0] * len(encoder.normalization)


@any_nest
@pytest.mark.parametrize("normalized", [True, False])
def test_before_any_statistics_and_without_normalisation_vectors_are_unchanged(name, normalized):
    encoder, space = encoder_of(name, normalize_observations=normalized), NESTS[name]
    watched = tf.nest.map_structure(
        lambda part: part / part.dtype.type(1e6) if part.dtype == np.float64 else part, observations(space, 20)
    )
    if not normalized:
        assert encoder.normalization == []
        assert take_in(encoder, watched, np.full(20, 1 / 20, np.float32))
    expected = naive_outputs(encoder, naive_inputs(space, watched))
    np.testing.assert_allclose(encoder(tensors(watched)), expected, rtol=1e-4, atol=1e-2)


@any_nest
def test_the_first_statistics_do_not_change_outputs_of_0(name):
    encoder, samples = encoder_of(name, output_gain=0.0), observations(NESTS[name], 30)
    before = [variable.numpy() for variable in encoder.trainable_variables]
    encoder.begin_normalization(encoder.moments(tensors(samples), tf.fill([30], 1 / 30), tf.constant(30.0)))
    np.testing.assert_array_equal(encoder(tensors(samples)), np.zeros([30, 4]))
    assert all(layer.count.numpy() == 30 and layer.mean.numpy().all() for layer in encoder.normalization)
    for variable, then in zip(encoder.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable, then)


@any_nest
def test_without_an_absorbing_layer_trained_weights_never_get_statistics(name):
    spec, samples = observation_spec(NESTS[name]), observations(NESTS[name], 30)
    joined = joining(spec)
    network = keras.Model(joined.input, keras.layers.LayerNormalization()(joined.output))
    encoder = Encoder(spec, 4, network=network, output_gain=1.0, seed=0)
    weights, outputs = encoder.get_weights(), encoder(tensors(samples)).numpy()
    for _ in range(2):
        assert take_in(encoder, samples, np.full(30, 1 / 30, np.float32))
    for now, then in zip(encoder.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(now, then)
    np.testing.assert_array_equal(encoder(tensors(samples)), outputs)


@pytest.mark.parametrize("output_gain", [0.0, 1.0])
def test_one_vector_next_to_a_mask_counts_as_the_only_input(output_gain):
    """So the first layer can preserve the function of trained weights."""
    space = spaces.Dict(place=SPEED, action_mask=spaces.MultiBinary(4))
    encoder = Encoder(observation_spec(space), 4, network=mlp((2, 3), (8,), seed=0), output_gain=output_gain, seed=1)
    samples = observations(space, 30)
    before = encoder(tensors(samples)).numpy()
    assert take_in(encoder, samples, np.full(30, 1 / 30, np.float32))
    np.testing.assert_allclose(encoder(tensors(samples)), before, rtol=1e-4, atol=1e-4)
    assert encoder.normalization[0].count.numpy() == 30


def test_parts_to_normalise_that_do_not_exist_are_refused():
    for names in (["positon"], "position"):
        with pytest.raises(
            ValueError, match="normalize_observations must be true, false, or some of the observation's"
        ):
            Encoder((4,), 1, normalize_observations=names)


def test_numbers_that_are_equal_in_float32_stay_different():
    encoder = Encoder(observation_spec(PLACE), 2, network=mlp((2,), ()), seed=0)
    samples = 1e9 + np.random.default_rng(0).normal(size=(50, 2))
    assert len(np.unique(samples.astype(np.float32))) < 10
    assert take_in(encoder, samples, np.full(50, 1 / 50, np.float32))
    encoder.output_layer.kernel.assign(np.eye(2))
    normalised = (samples - samples.mean(axis=0)) / samples.std(axis=0)
    np.testing.assert_allclose(encoder(tf.constant(samples)), normalised, rtol=1e-4, atol=1e-5)


@any_nest
def test_an_encoder_of_a_nest_survives_json(name):
    encoder, samples = encoder_of(name, output_gain=0.0), observations(NESTS[name], 30)
    assert take_in(encoder, samples, np.full(30, 1 / 30, np.float32))
    encoder.output_layer.kernel.assign(tf.ones_like(encoder.output_layer.kernel))
    again = keras.saving.deserialize_keras_object(json.loads(json.dumps(keras.saving.serialize_keras_object(encoder))))
    assert again.spec == encoder.spec
    again.set_weights(encoder.get_weights())
    np.testing.assert_array_equal(again(tensors(samples)), encoder(tensors(samples)))


def test_a_policy_gives_masked_actions_probability_0():
    policy, samples = Policy(encoder_of("dict", output_gain=0.0), Categorical(4)), observations(NESTS["dict"], 30)
    mask = samples["action_mask"]
    probabilities = policy(tensors(samples)).probs_parameter().numpy()
    # A row that allows nothing allows everything.
    allowed = mask.astype(bool) | ~mask.any(axis=1, keepdims=True)
    np.testing.assert_array_equal(probabilities > 0, allowed)
    np.testing.assert_allclose(probabilities, allowed / allowed.sum(axis=1, keepdims=True), rtol=1e-6)

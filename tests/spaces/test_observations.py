"""Observation spaces as specs, and observations as arrays with the dtypes of specs."""

import json
import re

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from tf_trpo.spaces import (
    PartSpec,
    WrongValueError,
    as_batch,
    as_spec,
    difference,
    flatten_to,
    from_json,
    map_parts,
    mask_of,
    named,
    observation_reader,
    observation_spec,
    parts,
    to_json,
    unnamed,
    without_masks,
)

BIT = spaces.Discrete(2)
LEAVES = st.sampled_from(
    [
        spaces.Box(-1, 1, (3,), np.float64),
        spaces.Box(0, 255, (8, 8, 3), np.uint8),
        spaces.Box(0, 1, (8, 8, 12), np.uint8),
        spaces.Box(-5, 5, (), np.int16),
        spaces.Discrete(4, start=-2),
        spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[0, 1], [2, 3]]),
        spaces.MultiBinary((2, 3)),
    ]
)
SPACES = st.recursive(
    LEAVES,
    lambda below: st.one_of(
        st.dictionaries(st.sampled_from(["b", "a", "c d"]), below, min_size=1, max_size=3).map(spaces.Dict),
        st.lists(below, min_size=1, max_size=3).map(spaces.Tuple),
    ),
    max_leaves=5,
)
MASKS = {
    type(space).__name__ + str(space.dtype): spaces.Dict(x=spaces.Box(-1, 1, (2,)), action_mask=space)
    for space in (
        spaces.MultiBinary(3),
        spaces.MultiDiscrete([2, 2, 2]),
        *(spaces.Box(0, 1, (3,), dtype) for dtype in (np.int8, np.bool_, np.float32, np.float64)),
    )
}
MASKED = MASKS["MultiBinaryint8"]


@given(SPACES)
def test_samples_of_a_space_are_batches_of_its_spec(space):
    space.seed(0)
    spec, sample = observation_spec(space), space.sample()
    batch, single = as_batch(spec, sample)
    assert single
    for (_, part), rows, own in zip(parts(spec), flatten_to(spec, batch), flatten_to(spec, sample), strict=True):
        assert (rows.shape, rows.dtype) == ((1, *part.shape), np.dtype(part.dtype))
        np.testing.assert_array_equal(rows[0], own)
    stacked = map_parts(lambda _, *values: np.stack(values), spec, *(space.sample() for _ in range(3)))
    again, single = as_batch(spec, stacked)
    assert not single
    for rows, own in zip(flatten_to(spec, again), flatten_to(spec, stacked), strict=True):
        np.testing.assert_array_equal(rows, own)


@given(SPACES)
def test_a_spec_survives_json(space):
    spec = observation_spec(space)
    assert from_json(json.loads(json.dumps(to_json(spec)))) == spec
    assert difference(spec, spec) is None


@given(SPACES)
def test_unnamed_inverts_named(space):
    nest = space.sample()
    values = {name: index for index, name in enumerate(named("x", nest))}
    assert named("x", unnamed("x", nest, values)) == values
    assert type(unnamed("x", nest, values)) is (type(nest) if isinstance(nest, dict | tuple) else int)


@pytest.mark.parametrize(
    ("space", "kind"),
    [
        (spaces.Box(0, 255, (84, 84, 4), np.uint8), "image"),
        (spaces.Box(0, 0, (84, 84, 4), np.uint8), "image"),
        (spaces.Box(0, 255, (4, 84, 84), np.uint8), "image"),
        (spaces.Box(0, 255, (128,), np.uint8), "vector"),
        (spaces.Box(0, 1, (84, 84, 4), np.float32), "vector"),
        (spaces.Discrete(3), "one-hot"),
        (spaces.MultiBinary(3), "binary"),
    ],
)
def test_the_kind_of_a_part(space, kind):
    assert observation_spec(space).kind == kind


@pytest.mark.parametrize("name", MASKS)
def test_an_entry_action_mask_of_the_outermost_dict_is_the_mask_or_refused(name):
    bits = MASKS[name]["action_mask"]
    spec = observation_spec(MASKS[name])
    assert (spec["action_mask"].kind, spec["action_mask"].dtype) == ("mask", str(bits.dtype))
    batch, _ = as_batch(spec, {"x": np.zeros(2), "action_mask": np.array([0, 1, 1])})
    np.testing.assert_array_equal(batch["action_mask"], np.array([[0, 1, 1]], bits.dtype), strict=True)
    assert observation_spec(spaces.Dict(x=spaces.Dict(action_mask=bits)))["x"]["action_mask"].kind != "mask"


@pytest.mark.parametrize("space", [spaces.Box(0, 2, (3,)), spaces.MultiDiscrete([2, 3]), spaces.Discrete(2)], ids=str)
def test_an_action_mask_that_cannot_be_a_mask_is_refused(space):
    with pytest.raises(ValueError, match=r"action_mask of the observation is .*; if it is not a mask, rename it"):
        observation_spec(spaces.Dict(x=spaces.Discrete(2), action_mask=space))


def test_a_mask_is_not_an_input():
    spec = observation_spec(MASKED)
    observation = {"x": np.zeros(2), "action_mask": np.ones(3)}
    assert without_masks(spec, observation) is observation["x"]
    assert mask_of(spec, observation) is observation["action_mask"]
    assert mask_of(as_spec((3,)), np.zeros(3)) is None


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (spaces.Text(5), "the observation is Text, which is text: leave it out by .*WithoutText"),
        (spaces.Dict(a=spaces.Dict(b=spaces.Text(5))), "a/b of the observation is Text"),
        (spaces.Sequence(spaces.Discrete(3)), "is Sequence, which has no fixed size: turn it into a Box by a wrapper"),
        (spaces.Graph(spaces.Discrete(3), None), "is Graph, which has no fixed size"),
        (spaces.OneOf([spaces.Discrete(3)]), "is OneOf, which has no fixed size"),
        (spaces.Box(-1, 1, (2, 0)), r"the observation is Box\(.*, which has no number: a wrapper must leave it o"),
        (spaces.Dict({}), r"the observation is Dict\(\), which has no number"),
        (spaces.Dict(a=spaces.Tuple([])), r"a of the observation is Tuple\(\), which has no number"),
        (
            spaces.Dict({0: BIT, 1: BIT}),
            "has the key 0: rename it by a wrapper to text without a slash",
        ),
        (spaces.Dict({0: BIT, "a": BIT}), "the observation has the key 0"),
        (spaces.Dict(c=spaces.Dict({"a/b": BIT})), "c of the observation has the key 'a/b'"),
        (spaces.Dict({"a.b": BIT, "a": spaces.Dict(b=BIT)}), "two parts .* observations_a_b: rename one"),
        (spaces.Tuple([spaces.Discrete(9_999), BIT]), "has 10001 choices, .* own network with an Embedding"),
    ],
)
def test_an_unsupported_space_is_refused_with_advice(space, words):
    with pytest.raises(ValueError, match=words):
        observation_spec(space)


@pytest.mark.parametrize(
    ("space", "observation", "words"),
    [
        (spaces.Discrete(4), 4, "cannot act on an observation that lies outside of its space: [4]"),
        (spaces.Discrete(4), 1.5, "cannot act on an observation of type float64, its space has int64"),
        (spaces.Discrete(4), "1", "that holds no numbers, but a str"),
        (spaces.Box(-1, 1, (2,)), [[1, 2], [3]], "that holds no numbers, but a list"),
        (spaces.Box(-1, 1, (2,)), np.array([np.nan, 0]), "cannot act on an observation that is not finite"),
        (spaces.Box(-1, 1, (2,)), np.array([0, 1e300]), "that is not finite in float32"),
        (spaces.Box(0, 255, (9, 9, 3), np.uint8), np.full((9, 9, 3), 300), "of type int64, its space has uint8"),
        (spaces.Box(0, 255, (9, 9, 3), np.uint8), np.full((9, 9, 3), -1.0), "of type float64, its space has uint8"),
        (spaces.MultiBinary(2), [1, 7], "that lies outside of its space: [[1 7]]"),
        (MASKED, {"x": np.zeros(2), "action_mask": [-3, 7, 0]}, "action_mask of the observation that lies outside"),
        (
            MASKS["Boxfloat32"],
            {"x": np.zeros(2), "action_mask": [0.5, 0, 1]},
            "action_mask of the observation that lies outs",
        ),
        (spaces.Box(-1, 1, (2,)), np.zeros(3), "one [2] or a batch [N, 2], got shape [3]"),
        (
            spaces.Tuple([spaces.Discrete(2)] * 2),
            (0, 0, 1),
            "a tuple of 3 as an observation, its space is a Tuple of 2",
        ),
        (
            MASKED,
            {"x": np.zeros(2)},
            "cannot act on a dict of x as an observation, its space is a Dict of act",
        ),
        (spaces.Dict(a=spaces.Discrete(2), b=spaces.Discrete(2)), {"a": [0, 1], "b": [0]}, "are batches of 2 and 1"),
    ],
)
def test_observations_outside_of_the_space_are_refused(space, observation, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        as_batch(observation_spec(space), observation)


def test_parts_that_are_batches_of_different_sizes_are_refused_by_their_sizes():
    spec = observation_spec(spaces.Dict(a=spaces.Box(-1, 1, (2,)), b=spaces.Discrete(3), c=spaces.Box(-1, 1, (1,))))
    message = "^the parts of the observations are batches of 2 and 1: give all parts of the same size$"
    with pytest.raises(ValueError, match=message):
        as_batch(spec, {"a": np.zeros((2, 2)), "b": [1], "c": np.zeros((2, 1))})


def test_as_batch_accepts_floats_for_integers():
    batch, single = as_batch(observation_spec(spaces.Discrete(300)), [3.0, 299.0])
    np.testing.assert_array_equal(batch, np.array([3, 299]), strict=True)
    assert not single
    with pytest.raises(WrongValueError, match="of type float64, its space has int64"):
        observation_reader(observation_spec(spaces.Discrete(300)))(3.0)


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        (as_spec((3,)), as_spec((4,)), ("array of shape (3,)", "array of shape (4,)")),
        (
            observation_spec(spaces.Box(0, 255, (5, 5, 1), np.uint8)),
            observation_spec(spaces.Box(0, 1, (5, 5, 1), np.uint8)),
            ("uint8 image array of shape (5, 5, 1)", "uint8 image array of shape (5, 5, 1) of bytes up to 1"),
        ),
        ({"a": as_spec((3,))}, {"b": as_spec((3,))}, ("a: array of shape (3,)", "no a")),
        (
            observation_spec(spaces.Discrete(3)),
            observation_spec(spaces.Discrete(3, start=1)),
            ("int64 array of shape () of [3] choices from [0]", "int64 array of shape () of [3] choices from [1]"),
        ),
    ],
)
def test_a_difference_describes_both_sides(ours, theirs, words):
    assert difference(ours, theirs) == words


def test_vectors_of_different_dtypes_agree():
    assert difference(PartSpec((3,), "float32", "vector"), PartSpec((3,), "float64", "vector")) is None


def test_names_of_an_exported_model():
    nest = {"b": (1, {"x y": 2}), "a": 3}
    assert named("observations", nest) == {"observations_a": 3, "observations_b_0": 1, "observations_b_1_x_y": 2}
    assert unnamed("a", nest, named("a", nest)) == nest
    assert named("actions", 5) == {"actions": 5}
    with pytest.raises(ValueError, match="exported as a_x_y"):
        named("a", {"x y": 1, "x_y": 2})

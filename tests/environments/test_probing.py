"""Random actions that masks allow, and fingerprints of nests."""

import numpy as np
import pytest
from gymnasium import spaces

from tf_trpo.environments.probing import fingerprint, random_action


@pytest.mark.parametrize(
    ("space", "mask", "allowed"),
    [
        (spaces.Discrete(3, start=5), [0, 1, 1], {6, 7}),
        (spaces.MultiDiscrete([2, 3]), [1, 0, 0, 0, 1], {(0, 2)}),
        (spaces.MultiBinary(2), [0, 1, 1, 1], {(1, 0), (1, 1)}),
        (spaces.Discrete(2), [0, 0], {0, 1}),
        (spaces.Box(-1, 1, (2,), np.int8), [0, 0, 1, 1, 0, 1], {(1, -1), (1, 1)}),
        (spaces.Box(0, 1, (), bool), [0, 1], {True}),
        (spaces.Box(2**64 - 2, 2**64 - 1, (1,), np.uint64), [0, 1], {(2**64 - 1,)}),
    ],
    ids=str,
)
def test_random_actions_are_allowed_by_the_mask(space, mask, allowed):
    rng, mask = np.random.default_rng(0), np.array(mask, np.int8)
    drawn = [random_action(space, mask, rng) for _ in range(100)]
    assert all(space.contains(action) for action in drawn)
    values = [action.tolist() for action in drawn]
    assert {tuple(value) if isinstance(value, list) else value for value in values} == allowed


def test_the_fingerprint_of_a_nest_depends_on_order_and_values():
    one = {"a": np.array([1.0, 2.0]), "b": (3, 4)}
    assert fingerprint(one) == fingerprint({"b": (3, 4), "a": np.array([1.0, 2.0])})
    assert fingerprint(one) != fingerprint({**one, "b": (4, 3)})
    assert fingerprint(0.0) != fingerprint(-0.0)
